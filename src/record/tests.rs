use proptest::prelude::*;

use super::{
    attributes::{AttributeBuffer, AttributeKey, Attributes, ValueRef, MAX_DEPTH, MAX_TEXT},
    id::{RecordId, SpanId, TraceId},
    kinds::{EventType, SpanKind, Status},
    layout::{self, flag, Header, RecordKind, KEY_NAME, NAME_INLINE},
    names::{cut, intern, Name, NameMap, StaticName, FIRST_ID},
    value::Value,
    view::{aligned, bytes_of, peek, words_of, Body, Record, RecordError},
};

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        // NaN is not equal to itself; it has a test of its own.
        any::<f64>()
            .prop_filter("NaN", |v| !v.is_nan())
            .prop_map(Value::F64),
        ".{0,40}".prop_map(Value::Str),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            proptest::collection::vec((".{0,12}", inner), 0..6).prop_map(Value::Map),
        ]
    })
}

fn span_record(attributes: &AttributeBuffer) -> Vec<u64> {
    let fixed = layout::Span {
        header: Header::new(
            RecordKind::Span,
            layout::Span::WORDS + attributes.words().len(),
            300,
        ),
        trace_id: [7; 16],
        span_id: 11.into(),
        parent: 0.into(),
        end: 900.into(),
        ticks: 50.into(),
        kind: SpanKind::NodeExecution as u8,
        status: Status::Ok as u8,
        flags: 0.into(),
        attributes: attributes.count().into(),
        dropped: attributes.dropped().into(),
    };
    let fixed: [u64; layout::Span::WORDS] = words_of(&fixed);
    let mut words = fixed.to_vec();
    words.extend_from_slice(attributes.words());
    words
}

proptest! {
    #[test]
    fn attributes_come_back_as_they_were_set(
        list in proptest::collection::vec((0u32..64, any_value()), 0..12),
    ) {
        let mut buffer = AttributeBuffer::default();
        for (key, value) in &list {
            buffer.push_named(Name::of_id(FIRST_ID + key), value);
        }
        let words = span_record(&buffer);
        let record = Record::read(bytes_of(&words), 0).unwrap();
        let back: Vec<_> = record
            .attributes
            .iter()
            .map(|a| match a.key {
                AttributeKey::Id(id) => (id - FIRST_ID, a.value.to_value()),
                AttributeKey::Text(text) => panic!("spelled out: {text}"),
            })
            .collect();
        prop_assert_eq!(back, list);
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u8..16) {
        let mut words = aligned(&bytes);
        if let Some(first) = words.first_mut() {
            // Make it look like a record more often than chance would.
            let size = (bytes.len() / 8) as u64;
            *first = size | u64::from(kind) << 16 | 1 << 24 | (*first & 0xffff_ffff_0000_0000);
        }
        if let Ok(record) = Record::read(bytes_of(&words), 0) {
            for attribute in record.attributes.iter() {
                let _ = attribute.value.to_value();
            }
        }
    }

    #[test]
    fn cutting_to_fit_keeps_a_valid_list_and_counts(
        list in proptest::collection::vec((0u32..64, any_value()), 0..12),
        words in 0usize..200,
    ) {
        let mut buffer = AttributeBuffer::default();
        for (key, value) in &list {
            buffer.push_named(Name::of_id(FIRST_ID + key), value);
        }
        let before = buffer.words().len();
        buffer.fit(words);
        prop_assert!(buffer.words().len() <= words);
        prop_assert_eq!(usize::from(buffer.count() + buffer.dropped()), list.len());
        prop_assert_eq!(buffer.is_truncated(), before > words);
        prop_assert_eq!(buffer.as_attributes().iter().count(), usize::from(buffer.count()));
    }
}

#[test]
fn a_span_without_attributes_takes_64_bytes() {
    let words = span_record(&AttributeBuffer::default());
    assert_eq!(words.len() * 8, 64);
    let record = Record::read(bytes_of(&words), 0).unwrap();
    let Body::Span(span) = record.body else {
        panic!("{:?}", record.kind())
    };
    assert_eq!(
        (
            span.span_id.to_native(),
            span.end.to_native(),
            span.ticks.to_native()
        ),
        (11, 900, 50)
    );
}

#[test]
fn the_bytes_are_the_documented_ones() {
    let mut buffer = AttributeBuffer::default();
    buffer.push_named(Name::of_id(24), "ab");
    buffer.push_named(Name::of_id(25), &-1i64);
    let words = span_record(&buffer);
    #[rustfmt::skip]
    let expected: [u8; 96] = [
        12, 0, 3, 1, 44, 1, 0, 0,
        7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
        11, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
        132, 3, 0, 0, 0, 0, 0, 0,
        50, 0, 0, 0, 0, 0, 0, 0,
        2, 1, 0, 0, 2, 0, 0, 0,
        24, 0, 0, 0, 5, 2, 0, 0, b'a', b'b', 0, 0, 0, 0, 0, 0,
        25, 0, 0, 0, 2, 8, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
    ];
    assert_eq!(bytes_of(&words), expected);
}

#[test]
fn a_spelled_out_name_is_taken_from_the_attributes() {
    let mut buffer = AttributeBuffer::default();
    buffer.push_reserved(KEY_NAME, "a long name");
    buffer.push_named(Name::of_id(24), &true);
    let mut words = span_record(&buffer);
    words[0] = (words[0] & 0xffff_ffff) | u64::from(NAME_INLINE) << 32;
    let record = Record::read(bytes_of(&words), 0).unwrap();
    assert_eq!(record.inline_name, Some("a long name"));
    assert_eq!(record.attributes.iter().count(), 1);
}

#[test]
fn newer_versions_and_unknown_kinds_are_refused_by_name() {
    let mut words = span_record(&AttributeBuffer::default());
    words[0] |= 2 << 24;
    let error = Record::read(bytes_of(&words), 0).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("version 3 of kind Span, this build reads up to 1"),
        "{error}"
    );
    words[0] = 8 | 99 << 16 | 1 << 24;
    assert!(matches!(
        peek(bytes_of(&words), 0),
        Err(RecordError::Kind { kind: 99, .. })
    ));
}

#[test]
fn nan_and_infinities_survive() {
    let mut buffer = AttributeBuffer::default();
    buffer.push_named(Name::of_id(24), &f64::NAN);
    buffer.push_named(Name::of_id(24), &f64::NEG_INFINITY);
    let back: Vec<_> = buffer
        .as_attributes()
        .iter()
        .map(|a| a.value.to_value())
        .collect();
    assert!(matches!(back[0], Value::F64(v) if v.is_nan()));
    assert_eq!(back[1], Value::F64(f64::NEG_INFINITY));
    assert_eq!(back[1].to_json(), "\"-Infinity\"");
}

#[test]
fn ten_megabytes_are_cut_and_marked() {
    let mut buffer = AttributeBuffer::default();
    buffer.push_named(Name::of_id(24), &"ä".repeat(5 << 20));
    assert!(buffer.is_truncated());
    let attribute = buffer.as_attributes().iter().next().unwrap();
    let ValueRef::Str(text) = attribute.value else {
        panic!()
    };
    assert!(attribute.truncated && text.len() <= MAX_TEXT && text.chars().all(|c| c == 'ä'));
    buffer.fit(8192);
    assert_eq!((buffer.count(), buffer.dropped()), (1, 0));
    assert!(buffer.words().len() <= 8192);
}

#[test]
fn nesting_is_bounded() {
    let mut value = Value::I64(1);
    for _ in 0..MAX_DEPTH + 10 {
        value = Value::Array(vec![value]);
    }
    let mut buffer = AttributeBuffer::default();
    buffer.push_named(Name::of_id(24), &value);
    assert!(buffer.is_truncated());
    let words = span_record(&buffer);
    assert!(Record::read(bytes_of(&words), 0).is_ok());
}

#[test]
fn deeper_nesting_than_allowed_is_damage() {
    // 40 arrays inside each other, made by hand.
    let mut entry: Vec<u64> = vec![2 << 32 | 8 << 40, 1];
    for _ in 0..40 {
        let len = entry.len() as u64 * 8;
        entry.insert(0, 7 << 32 | len << 40);
    }
    assert!(Attributes::read(bytes_of(&entry), 1).is_none());
}

#[test]
fn ids_are_read_in_every_documented_spelling() {
    let plain: TraceId = "550e8400e29b41d4a716446655440000".parse().unwrap();
    let dashed: TraceId = "550E8400-E29B-41D4-A716-446655440000".parse().unwrap();
    assert_eq!(plain, dashed);
    assert_eq!(plain.to_string(), "550e8400e29b41d4a716446655440000");
    for bad in [
        "",
        "xyz",
        "0",
        &"0".repeat(32),
        "550e8400e29b41d4a71644665544000g",
        "+".repeat(32).as_str(),
    ] {
        assert!(bad.parse::<TraceId>().is_err(), "{bad}");
    }
    let (id, foreign) = TraceId::from_text("order-17");
    assert!(foreign && !id.is_none());
    assert_eq!(TraceId::from_text("order-17").0, id);
    let span: SpanId = "00000000000000ff".parse().unwrap();
    let wide = format!("{:032x}", span.wide(plain));
    assert_eq!(wide.parse::<SpanId>().unwrap(), span);
    assert!("0000000000000000".parse::<SpanId>().is_err());
}

#[test]
fn the_foreign_id_hash_never_changes() {
    // From d228cb696f1a8caf78912b704e4a8964, which the FNV reference has for "a".
    let (id, _) = TraceId::from_text("a");
    assert_eq!(id.to_string(), "7add9b00f2c9c7976e173bb8e849bc1c");
}

#[test]
fn record_ids_are_one_to_one_inside_an_instance() {
    let instance = super::id::InstanceId([9; 16]);
    let mut seen = std::collections::HashSet::new();
    for ring in [0, 1, u32::MAX] {
        for sequence in [0, 1, u64::MAX] {
            for part in 0..3 {
                assert!(seen.insert(
                    RecordId {
                        instance,
                        ring,
                        sequence
                    }
                    .as_u128(part)
                ));
            }
        }
    }
}

#[test]
fn known_event_types_are_the_first_well_known_names() {
    for (i, text) in EventType::KNOWN.iter().enumerate() {
        assert_eq!(super::wellknown::text(i as u32 + 1), Some(*text));
    }
    assert_eq!(EventType::new("node_failed"), EventType::NODE_FAILED);
    assert_eq!(EventType::new("my_own_type").as_str(), "my_own_type");
    assert_eq!("completed".parse(), Ok(Status::Ok));
    assert_eq!("INTERNAL".parse(), Ok(SpanKind::Internal));
}

#[test]
fn names_are_interned_once_and_cut() {
    static NAME: StaticName = StaticName::new("record::tests::name");
    let id = Name::from(&NAME).id();
    assert_eq!(intern("record::tests::name").id(), id);
    assert_eq!(intern("node.id").id(), super::wellknown::NODE_ID);
    assert_eq!(cut("aä", 2), "a");
    let mut map = NameMap::default();
    map.define(id, "record::tests::name");
    map.define(u32::MAX - 1, "ignored");
    assert_eq!(
        (map.get(id), map.get(24)),
        (Some("record::tests::name"), Some("node.id"))
    );
    assert_eq!(map.find("record::tests::name"), Some(id));
}

#[test]
fn flags_do_not_overlap() {
    let all = [
        flag::REMOTE_PARENT,
        flag::TRUNCATED,
        flag::RECOVERED,
        flag::ERROR,
        flag::FOREIGN_ID,
        flag::SUSPENDED,
        flag::PROVISIONAL,
    ];
    assert_eq!(
        all.iter().fold(0, |a, b| a | b).count_ones() as usize,
        all.len()
    );
}
