//! Encoding of everything that is stored or sent, behind two functions so that the crate below can
//! be replaced. bincode aborts the process on a frame of 12 bytes that claims a huge string (on its
//! serde path too), unless it is given a limit; so it always gets one that follows the input.

use bincode::enc::write::{SizeWriter, Writer};
use bincode::error::EncodeError;
use serde::{Deserialize, Serialize};

/// Why bytes could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The value cannot be encoded (for example a map that refuses to tell its length).
    #[error("cannot encode: {0}")]
    Encode(String),
    /// The bytes are not an encoding of the wanted type.
    #[error("cannot decode: {0}")]
    Decode(String),
    /// The bytes go on after the value.
    #[error("{extra} bytes left over after the value")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// The input is longer than the caller allows.
    #[error("{len} bytes are more than the {limit} that are allowed")]
    TooLong {
        /// Length of the input.
        len: usize,
        /// What was allowed.
        limit: usize,
    },
}

/// Bytes of a value.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    encode_onto(&mut out, value)?;
    Ok(out)
}

/// As [`encode`], for a value that takes long to go through, such as a whole state: once, into a vector that
/// grows.
pub fn encode_long<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|e| CodecError::Encode(e.to_string()))
}

/// Puts the bytes of a value behind those that are there. The value is gone through twice, first for its
/// length: a vector that grows under a large value copies it again and again.
pub fn encode_onto<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), CodecError> {
    let wrong = |e: EncodeError| CodecError::Encode(e.to_string());
    let config = bincode::config::standard();
    let mut length = SizeWriter::default();
    bincode::serde::encode_into_writer(value, &mut length, config).map_err(wrong)?;
    out.reserve(length.bytes_written);
    bincode::serde::encode_into_writer(value, Behind(out), config).map_err(wrong)
}

/// A value from all of `bytes`, which may be at most `limit` long. It may borrow from them.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8], limit: usize) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLong {
            len: bytes.len(),
            limit,
        });
    }
    let (value, used) = decode_limited(bytes)?;
    if used < bytes.len() {
        return Err(CodecError::Trailing {
            extra: bytes.len() - used,
        });
    }
    Ok(value)
}

/// A number may be claimed as 16 bytes and take one, so the limit is 16 to 64 times the input.
fn decode_limited<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, usize), CodecError> {
    macro_rules! with_limit {
        ($limit:expr) => {
            bincode::serde::borrow_decode_from_slice(
                bytes,
                bincode::config::standard().with_limit::<$limit>(),
            )
        };
    }
    let decoded = match bytes.len().saturating_mul(16) {
        ..=0x1_0000 => with_limit!(0x1_0000),
        0x1_0001..=0x4_0000 => with_limit!(0x4_0000),
        0x4_0001..=0x10_0000 => with_limit!(0x10_0000),
        0x10_0001..=0x40_0000 => with_limit!(0x40_0000),
        0x40_0001..=0x100_0000 => with_limit!(0x100_0000),
        0x100_0001..=0x400_0000 => with_limit!(0x400_0000),
        0x400_0001..=0x1000_0000 => with_limit!(0x1000_0000),
        0x1000_0001..=0x4000_0000 => with_limit!(0x4000_0000),
        _ => with_limit!(0x40_0000_0000),
    };
    decoded.map_err(|e| CodecError::Decode(e.to_string()))
}

/// Writes behind what a vector has.
struct Behind<'a>(&'a mut Vec<u8>);

impl Writer for Behind<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        let value = (7u64, "name".to_string(), vec![Some(1u8), None]);
        assert_eq!(
            decode::<(u64, String, Vec<Option<u8>>)>(&encode(&value).unwrap(), 100),
            Ok(value)
        );
    }

    #[test]
    fn trailing_bytes_and_long_inputs_are_refused() {
        let mut bytes = encode(&1u64).unwrap();
        assert_eq!(
            decode::<u64>(&bytes, 0),
            Err(CodecError::TooLong { len: 1, limit: 0 })
        );
        bytes.push(0);
        assert_eq!(
            decode::<u64>(&bytes, 100),
            Err(CodecError::Trailing { extra: 1 })
        );
    }

    #[test]
    fn a_short_frame_that_claims_a_huge_length_is_an_error_not_an_abort() {
        let bytes = [0xfd, 0, 0, 0, 0, 16, 0, 0, 0, 1, 2, 3];
        assert!(decode::<Vec<u8>>(&bytes, 100).is_err());
        assert!(decode::<String>(&bytes, 100).is_err());
        assert!(decode::<Vec<(u64, String)>>(&bytes, 100).is_err());
    }
}
