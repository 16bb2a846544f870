//! Bounded decompression: neither what arrives nor what it unfolds to may exceed the limit.

use std::borrow::Cow;
use std::io::{self, Read};

/// How a message is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952), one or several members.
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Largest window a zstd frame may ask for, as a power of two: 64 MiB, what the strongest common encoders use.
const ZSTD_WINDOW_LOG: u32 = 26;

impl Compression {
    /// Bytes that [`Compression::sniff`] needs to see.
    pub(super) const MAGIC_BYTES: usize = 4;

    /// The compression of a message without headers, from its magic number.
    #[must_use]
    pub const fn sniff(bytes: &[u8]) -> Self {
        match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// The compression that a `Content-Encoding` names; `None` when it is one we do not read.
    #[must_use]
    pub fn from_content_encoding(content_encoding: &str) -> Option<Self> {
        match content_encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::None),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::None => "body",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// A reader of the decompressed bytes of `input`.
    pub(super) fn reader<'a>(self, input: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Self::None => Box::new(input),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::new(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// Why a body could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// The body is larger than the limit, before or after decompression.
    #[error("body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The compressed body ends before its end marker.
    #[error("{compression} body is cut off")]
    Truncated {
        /// `gzip` or `zstd`.
        compression: &'static str,
    },
    /// The compressed body is damaged.
    #[error("{compression} body is corrupt")]
    Corrupt {
        /// `gzip` or `zstd`.
        compression: &'static str,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
}

/// Decompresses a body of at most `limit_bytes` into at most `limit_bytes`.
///
/// # Errors
/// Too large on either side, cut off, or corrupt.
pub fn decompress(
    bytes: &[u8],
    compression: Compression,
    limit_bytes: usize,
) -> Result<Cow<'_, [u8]>, DecompressError> {
    if bytes.len() > limit_bytes {
        return Err(DecompressError::TooLarge { limit_bytes });
    }
    if compression == Compression::None {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut output = Vec::with_capacity((bytes.len() * 4).min(limit_bytes));
    let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
    let read = compression.reader(bytes).and_then(|reader| reader.take(limit).read_to_end(&mut output));
    match read {
        Ok(_) if output.len() > limit_bytes => Err(DecompressError::TooLarge { limit_bytes }),
        Ok(_) => Ok(Cow::Owned(output)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(DecompressError::Truncated { compression: compression.name() })
        }
        Err(source) => Err(DecompressError::Corrupt { compression: compression.name(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn either_compression_is_found_by_its_magic_and_undone() {
        for packed in [gzip(b"hello"), zstd::encode_all(&b"hello"[..], 1).unwrap()] {
            let plain = decompress(&packed, Compression::sniff(&packed), 1000).unwrap();
            assert_eq!(plain.as_ref(), b"hello");
        }
        assert_eq!(decompress(b"{}", Compression::sniff(b"{}"), 1000).unwrap().as_ref(), b"{}");
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let zeros = vec![0; 10_000_000];
        for packed in [gzip(&zeros), zstd::encode_all(zeros.as_slice(), 1).unwrap()] {
            assert!(packed.len() < 100_000);
            let result = decompress(&packed, Compression::sniff(&packed), 100_000);
            assert!(matches!(result, Err(DecompressError::TooLarge { limit_bytes: 100_000 })));
        }
        assert!(decompress(&[0; 11], Compression::None, 10).is_err());
        assert_eq!(decompress(&gzip(&[0; 1000]), Compression::Gzip, 1000).unwrap().len(), 1000);
    }

    #[test]
    fn a_cut_off_body_is_told_apart_from_a_corrupt_one() {
        let text = (0..2000_u32).flat_map(|number| number.to_be_bytes()).collect::<Vec<_>>();
        for packed in [gzip(&text), zstd::encode_all(text.as_slice(), 1).unwrap()] {
            let compression = Compression::sniff(&packed);
            let cut = decompress(&packed[..packed.len() / 2], compression, 1_000_000);
            assert!(matches!(cut, Err(DecompressError::Truncated { .. })));
            let mut damaged = packed.clone();
            damaged[4..16].fill(0xff);
            let corrupt = decompress(&damaged, compression, 1_000_000);
            assert!(matches!(corrupt, Err(DecompressError::Corrupt { .. })));
        }
    }

    #[test]
    fn a_content_encoding_we_do_not_read_is_known_as_such() {
        assert_eq!(Compression::from_content_encoding(" GZIP"), Some(Compression::Gzip));
        assert_eq!(Compression::from_content_encoding("br"), None);
    }
}
