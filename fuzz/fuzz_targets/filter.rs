//! Any pattern and text: a glob fits exactly what its definition says, found by trying every way.
#![no_main]

use emberlog::Pattern;
use libfuzzer_sys::fuzz_target;

/// `*` is any number of characters; everything else is itself.
fn fits(pattern: &[char], text: &[char]) -> bool {
    // reached[i]: the pattern so far fits the first i characters.
    let mut reached: Vec<bool> = (0..=text.len()).map(|i| i == 0).collect();
    for part in pattern {
        if *part == '*' {
            let first = reached
                .iter()
                .position(|fits| *fits)
                .unwrap_or(reached.len());
            reached[first..].fill(true);
        } else {
            for i in (0..text.len()).rev() {
                reached[i + 1] = reached[i] && text[i] == *part;
            }
            reached[0] = false;
        }
    }
    reached[text.len()]
}

fuzz_target!(|input: (String, String)| {
    let (pattern, text) = input;
    // Few letters, so that something fits now and then.
    for fold in [false, true] {
        let change = |text: &str| -> String {
            let few = |c: char| {
                if c == '*' {
                    c
                } else {
                    ['a', 'b', 'ä'][c as usize % 3]
                }
            };
            text.chars()
                .map(|c| if fold { few(c) } else { c })
                .collect()
        };
        let (pattern, text) = (change(&pattern), change(&text));
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        let expected = fits(&letters(&pattern), &letters(&text));
        assert_eq!(
            Pattern::new(pattern.as_str()).matches(&text),
            expected,
            "{pattern:?} {text:?}"
        );
    }
});
