use super::*;

fn sample(kind: Kind) -> RecordHead {
    let place = Place { position: Position::new(3, 4096), length: 99 };
    let previous = Some(Previous { revision: 6, place });
    RecordHead { kind, revision: 7, create_revision: 5, version: 3, previous }
}

#[test]
fn records_come_back_as_they_went_in() {
    for (kind, key, value) in [
        (Kind::Put, b"/registry/pods/a".as_slice(), b"{}".as_slice()),
        (Kind::Delete, b"k", b""),
        (Kind::Moved, &[0; 4096], &[255; 70_000]),
        (Kind::Gap, b"", b""),
    ] {
        let (head, position) = (sample(kind), Position::new(9, 640));
        let mut bytes = Vec::new();
        encode_record(&mut bytes, position, &head, key, value);
        bytes.extend_from_slice(b"whatever follows");
        let record = decode_record(&bytes, position).unwrap();
        assert_eq!((record.head, record.key, record.value), (head, key, value));
        assert_eq!(record.place.length, record_length(key, value).unwrap());
        assert_eq!(decode_record(&bytes, position.plus(8)).unwrap_err(), "record with a wrong checksum");
    }
}

#[test]
fn no_flipped_bit_and_no_cut_goes_unnoticed() {
    let position = Position::new(1, 64);
    let mut record = Vec::new();
    encode_record(&mut record, position, &sample(Kind::Put), b"key", b"value");
    let batch = BatchHeader { position, durable: position, length: 9, count: 1, revision: 7, floor: 2, reserved: 90 };
    let segment = SegmentHeader { log: 77, number: 1, previous_end: position, revision: 7, floor: 2, reserved: 90 };
    assert_eq!(BatchHeader::decode(&batch.encode(77), 77), Some(batch));
    assert_eq!(BatchHeader::decode(&batch.encode(77), 78), None, "of another log");
    assert_eq!(SegmentHeader::decode(&segment.encode()), Ok(segment));
    for bit in 0..record.len() * 8 {
        let mut damaged = record.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_record(&damaged, position).is_err(), "bit {bit}");
    }
    for bit in 0..64 * 8 {
        let mut damaged = batch.encode(77);
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(BatchHeader::decode(&damaged, 77), None, "bit {bit}");
        let mut damaged = segment.encode();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(SegmentHeader::decode(&damaged).is_err(), "bit {bit}");
    }
    for cut in 0..record.len() {
        assert!(decode_record(&record[..cut], position).is_err(), "cut at {cut}");
    }
}
