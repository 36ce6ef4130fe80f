//! Response bodies made of parts. Each part is compressed once and used many times.
//!
//! One gzip stream can be joined from compressed parts: a deflate stream that was flushed to a byte boundary may be
//! followed by another, and the checksums can be combined (RFC 1951 §3.2.3, RFC 1952).

use std::io::Write;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::response::{self, Body};

/// A part of a body, and its compressed form once a client has requested it.
#[derive(Debug)]
pub(super) struct Part {
    text: Bytes,
    compressed: OnceLock<Compressed>,
}

#[derive(Debug)]
struct Compressed {
    /// Complete deflate blocks, none of them marked as the last.
    blocks: Vec<u8>,
    crc: Crc,
}

/// The gzip header: magic number, deflate, no flags, no time, no level, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// An empty last block.
const END: [u8; 2] = [3, 0];

impl Part {
    pub(super) fn new(text: impl Into<Bytes>) -> Self {
        Self { text: text.into(), compressed: OnceLock::new() }
    }

    /// The uncompressed length, in bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    fn compressed(&self) -> &Compressed {
        self.compressed.get_or_init(|| {
            let mut encoder = DeflateEncoder::new(Vec::with_capacity(self.text.len() / 4), Compression::new(4));
            encoder.write_all(&self.text).and_then(|()| encoder.flush()).expect("writing to a vector cannot fail");
            let mut crc = Crc::new();
            crc.update(&self.text);
            Compressed { blocks: encoder.get_ref().clone(), crc }
        })
    }
}

/// Responds with the concatenated parts, compressed if the client accepts gzip.
pub(super) fn answer(
    status: StatusCode,
    content_type: &'static str,
    parts: &[&Part],
    headers: &HeaderMap,
) -> Response<Body> {
    let wants_gzip = accepts_gzip(headers);
    let body = if wants_gzip { gzip(parts) } else { plain(parts) };
    let mut response = response::answer(status, content_type, body);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if wants_gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Concatenates the parts.
fn plain(parts: &[&Part]) -> Bytes {
    match parts {
        [part] => part.text.clone(),
        parts => parts.iter().map(|part| &*part.text).collect::<Vec<_>>().concat().into(),
    }
}

/// Joins the parts into one gzip stream.
fn gzip(parts: &[&Part]) -> Bytes {
    let mut crc = Crc::new();
    let mut body = HEADER.to_vec();
    for part in parts.iter().map(|part| part.compressed()) {
        crc.combine(&part.crc);
        body.extend_from_slice(&part.blocks);
    }
    body.extend_from_slice(&END);
    body.extend_from_slice(&crc.sum().to_le_bytes());
    body.extend_from_slice(&crc.amount().to_le_bytes());
    body.into()
}

/// Returns true if the client accepts gzip: `gzip` or else `*` is listed with a weight above 0.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut accepts_any = false;
    for offer in offers.flat_map(|offers| offers.split(',')) {
        let (coding, parameters) = offer.split_once(';').unwrap_or((offer, ""));
        let wanted = parameters.split(';').find_map(weight).unwrap_or(1.0) > 0.0;
        match coding.trim() {
            coding if coding.eq_ignore_ascii_case("gzip") => return wanted,
            "*" => accepts_any = wanted,
            _ => {}
        }
    }
    accepts_any
}

/// Returns the value of a parameter that is a weight, named `q` or `Q` (RFC 9110 §12.4.2). An invalid weight counts as
/// 0: the client can always read an answer that is not compressed.
fn weight(parameter: &str) -> Option<f32> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn two_parts_are_one_stream() {
        let long = "redis_clients_online 3\n".repeat(5000);
        for (first, second) in [("a".to_owned(), "b".to_owned()), (long.clone(), "end\n".into()), (String::new(), long)]
        {
            let (first, second) = (Part::new(first), Part::new(second));
            for _ in 0..2 {
                let mut text = Vec::new();
                let stream = gzip(&[&first, &second]);
                GzDecoder::new(&*stream).read_to_end(&mut text).expect("a gzip stream");
                assert!(text == plain(&[&first, &second]));
            }
        }
    }

    #[test]
    fn gzip_is_sent_only_to_clients_that_accept_it() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            accepts_gzip(&headers)
        };
        assert!(accepts("gzip") && accepts("zstd, GZIP;q=0.5") && accepts("*"));
        assert!(!accepts("") && !accepts("gzip;q=0") && !accepts("*, gzip; q=0") && !accepts("zstd"));
        assert!(accepts("gzip;Q=0.5") && accepts("gzip ; q = 1") && accepts("gzip;level=9;q=0.1") && accepts("gzip;x"));
        for refused in ["gzip;Q=0", "gzip ; Q = 0.000", "gzip; x=1; q=0", "*;Q=0", "gzip;q=", "gzip;q=NaN", "gzip;q=-1"]
        {
            assert!(!accepts(refused), "{refused}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }
}
