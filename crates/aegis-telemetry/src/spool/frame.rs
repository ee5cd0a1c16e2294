//! One batch as bytes.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of what follows the check |
//! | 8 | check: the first bytes of SHA-256 over segment number (8) ‖ offset (8) ‖ what follows |
//! | 1 | version, 1 |
//! | 12 | run |
//! | 4 | how many events |
//! | each event: 8 + 4 + n | its number, its length, its text |
//!
//! Numbers are big-endian. The check is longer than a CRC would be, is made by instructions of the processor, and binds a
//! frame to its place: what the disk had there before is not taken for it.

use aegis_crypto::Sha256;
use bytes::Bytes;

use super::SpoolError;
use crate::event::{Batch, EventId, RunId, SealedEvent};

/// Length and check.
pub(super) const HEADER_LEN: u64 = 12;
/// Most bytes after the header. Three times what an event can become, so that no limit of a batch can pass it.
pub(super) const MAX_LEN: u64 = 64 << 20;
const VERSION: u8 = 1;
/// Version, run, count.
const FIXED_LEN: u64 = 1 + 12 + 4;
const EVENT_OVERHEAD: u64 = 8 + 4;

/// Bytes that a batch takes after the header.
pub(super) fn len_of(batch: &Batch) -> Result<u64, SpoolError> {
    let bytes = FIXED_LEN + batch.events().len() as u64 * EVENT_OVERHEAD + batch.bytes() as u64;
    if bytes > MAX_LEN { Err(SpoolError::TooLarge { bytes, limit: MAX_LEN }) } else { Ok(bytes) }
}

/// The frame of a batch at its place.
pub(super) fn encode(batch: &Batch, segment: u64, offset: u64) -> Result<Vec<u8>, SpoolError> {
    let len = len_of(batch)?;
    let short =
        |len: u64| u32::try_from(len).map_err(|_| SpoolError::TooLarge { bytes: len, limit: MAX_LEN });
    let mut payload = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
    payload.push(VERSION);
    let run = batch.events().first().map(|event| event.id().run().0).unwrap_or_default();
    payload.extend_from_slice(&run);
    payload.extend_from_slice(&short(batch.events().len() as u64)?.to_be_bytes());
    for event in batch.events() {
        payload.extend_from_slice(&event.id().number().to_be_bytes());
        payload.extend_from_slice(&short(event.text().len() as u64)?.to_be_bytes());
        payload.extend_from_slice(event.text());
    }
    let mut frame = Vec::with_capacity(payload.len() + 12);
    frame.extend_from_slice(&short(payload.len() as u64)?.to_be_bytes());
    frame.extend_from_slice(&check(segment, offset, &payload));
    frame.extend_from_slice(&payload);
    Ok(frame)
}

/// The length that a frame's header tells, if it may be one.
pub(super) fn payload_len(header: &[u8; 12]) -> Option<u64> {
    let (len, _) = header.split_first_chunk::<4>()?;
    let len = u64::from(u32::from_be_bytes(*len));
    (FIXED_LEN..=MAX_LEN).contains(&len).then_some(len)
}

/// The batch in a frame, if every bit is as it was written there.
pub(super) fn decode(header: &[u8; 12], payload: Vec<u8>, segment: u64, offset: u64) -> Option<Batch> {
    let (_, told) = header.split_first_chunk::<4>()?;
    if told != check(segment, offset, &payload).as_slice() {
        return None;
    }
    let payload = Bytes::from(payload);
    let mut at: usize = 0;
    let mut take = |len: usize| {
        let bytes = payload.get(at..at.checked_add(len)?)?;
        at += len;
        Some(bytes)
    };
    if take(1)? != [VERSION] {
        return None;
    }
    let run = RunId(take(12)?.try_into().ok()?);
    let count = u32::from_be_bytes(take(4)?.try_into().ok()?);
    let mut events = Vec::new();
    for _ in 0..count {
        let number = u64::from_be_bytes(take(8)?.try_into().ok()?);
        let len = usize::try_from(u32::from_be_bytes(take(4)?.try_into().ok()?)).ok()?;
        let text = payload.slice_ref(take(len)?);
        events.push(SealedEvent::new(EventId::new(run, number), text));
    }
    if take(1).is_some() { None } else { Batch::new(events) }
}

fn check(segment: u64, offset: u64, payload: &[u8]) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(&segment.to_be_bytes());
    hash.update(&offset.to_be_bytes());
    hash.update(payload);
    let digest = hash.finish();
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::tests::batch;

    fn read(frame: &[u8], segment: u64, offset: u64) -> Option<Batch> {
        let (header, payload) = frame.split_first_chunk::<12>()?;
        let len = usize::try_from(payload_len(header)?).unwrap();
        if payload.len() != len {
            return None;
        }
        decode(header, payload.to_vec(), segment, offset)
    }

    #[test]
    fn a_batch_comes_back_from_its_place_and_from_no_other() {
        let batch = batch(3..9);
        let frame = encode(&batch, 5, 8).unwrap();
        assert_eq!(frame.len() as u64, HEADER_LEN + len_of(&batch).unwrap());
        assert_eq!(read(&frame, 5, 8), Some(batch));
        assert_eq!(read(&frame, 5, 9), None);
        assert_eq!(read(&frame, 6, 8), None);
    }

    #[test]
    fn refuses_every_changed_bit_and_every_shorter_frame() {
        let frame = encode(&batch(1..3), 1, 8).unwrap();
        for place in 0..frame.len() {
            assert_eq!(read(&frame[..place], 1, 8), None, "{place}");
            for bit in 0..8 {
                let mut changed = frame.clone();
                changed[place] ^= 1 << bit;
                assert_eq!(read(&changed, 1, 8), None, "{place} {bit}");
            }
        }
    }
}
