use super::*;

const SALT: u64 = 0x0102_0304_0506_0708;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entries() -> Vec<Entry> {
    vec![
        Entry::Source { source: 0, mark: 1, last: 2, name: "web".into() },
        Entry::Frame { source: 0, sequence: 3, length: 5, crc: crc32c::crc32c(b"hello") },
        Entry::Mark { source: 0, through: 2 },
    ]
}

fn block() -> Vec<u8> {
    let mut block = Vec::new();
    encode_block(&mut block, SALT, 7, &entries(), [&b"he"[..], b"llo"].into_iter());
    block
}

/// Version 1 of the format. If this fails, files of earlier versions are not read any more: raise the version instead.
#[test]
fn golden_bytes() {
    let header = SegmentHeader { segment: 2, salt: SALT, previous_end: 4096 };
    let golden_header = concat!(
        "4d4553484a524e4c",
        "0100",
        "0000",
        "0200000000000000",
        "0807060504030201",
        "0010000000000000",
        "b5ed8be5"
    );
    assert_eq!(hex(&header.encode()), golden_header);
    let golden_block = concat!(
        "4d4a424b",
        "07000000",
        "03000000",
        "3b000000",
        "05000000",
        "fccf8d51",
        "cf248588",
        // The source.
        "01000000000100000000000000020000000000000003776562",
        // The frame.
        "02000000000300000000000000050000004cbb719a",
        // The mark.
        "03000000000200000000000000",
        "68656c6c6f"
    );
    assert_eq!(hex(&block()), golden_block);
}

#[test]
fn what_is_encoded_is_decoded() {
    let header = SegmentHeader { segment: 2, salt: SALT, previous_end: 4096 };
    assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    let block = block();
    let header = BlockHeader::decode(&block, SALT).unwrap();
    assert_eq!((header.ordinal, header.block_bytes()), (7, block.len() as u64));
    assert_eq!(header.entries(&block), Some(entries()));
}

#[test]
fn every_changed_bit_is_found() {
    let whole = block();
    for place in 0..whole.len() * 8 {
        let mut block = whole.clone();
        block[place / 8] ^= 1 << (place % 8);
        let read = BlockHeader::decode(&block, SALT).and_then(|header| header.entries(&block));
        assert_eq!(read, None, "bit {place}");
    }
    for length in 0..whole.len() {
        let read = BlockHeader::decode(&whole, SALT).and_then(|header| header.entries(&whole[..length]));
        assert_eq!(read, None, "cut to {length}");
    }
    let whole = SegmentHeader { segment: 2, salt: SALT, previous_end: 4096 }.encode();
    for place in 0..whole.len() * 8 {
        let mut header = whole;
        header[place / 8] ^= 1 << (place % 8);
        assert!(SegmentHeader::decode(&header).is_err(), "bit {place}");
    }
}

#[test]
fn a_block_of_another_segment_is_none() {
    assert_eq!(BlockHeader::decode(&block(), SALT + 1), None);
}
