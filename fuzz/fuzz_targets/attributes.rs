//! Any keys and values, written and read again: nothing changes on the way, and what is left out is
//! counted.
#![no_main]

use emberlog::{
    record::{
        attributes::{AttributeBuffer, AttributeKey, MAX_ATTRIBUTES, MAX_DEPTH},
        names::MAX_NAME,
    },
    Value,
};
use libfuzzer_sys::{
    arbitrary::{Result, Unstructured},
    fuzz_target,
};

fn value(u: &mut Unstructured<'_>, depth: usize) -> Result<Value> {
    Ok(
        match u.int_in_range(0..=if depth < MAX_DEPTH { 8 } else { 6 })? {
            0 => Value::Null,
            1 => Value::Bool(u.arbitrary()?),
            2 => Value::I64(u.arbitrary()?),
            3 => Value::U64(u.arbitrary()?),
            4 => Value::F64(u.arbitrary()?),
            5 => Value::Str(u.arbitrary()?),
            6 => Value::Bytes(u.arbitrary()?),
            7 => Value::Array(
                (0..u.int_in_range(0..=3)?)
                    .map(|_| value(u, depth + 1))
                    .collect::<Result<_>>()?,
            ),
            _ => Value::Map(
                (0..u.int_in_range(0..=3)?)
                    .map(|_| Ok((u.arbitrary()?, value(u, depth + 1)?)))
                    .collect::<Result<_>>()?,
            ),
        },
    )
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let mut buffer = AttributeBuffer::default();
    let mut pushed = Vec::new();
    // A few keys, so that most are spelled out once the table of names is full.
    while let (Ok(key), Ok(value)) = (u.arbitrary::<String>(), value(&mut u, 0)) {
        buffer.push(key.as_str(), &value);
        pushed.push((key, value));
        if u.is_empty() {
            break;
        }
    }
    assert_eq!(
        usize::from(buffer.count()) + usize::from(buffer.dropped()),
        pushed.len()
    );
    assert!(buffer.count() <= MAX_ATTRIBUTES);
    let mut read = 0;
    for (attribute, (key, value)) in buffer.as_attributes().iter().zip(&pushed) {
        if let AttributeKey::Text(text) = attribute.key {
            assert!(key.starts_with(text) && (text == key || text.len() > MAX_NAME - 4));
        }
        // NaN is not equal to itself, but prints as itself.
        assert_eq!(
            format!("{:?}", attribute.value.to_value()),
            format!("{value:?}")
        );
        read += 1;
    }
    assert_eq!(read, usize::from(buffer.count()));
});
