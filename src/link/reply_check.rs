//! The properties of every reply, whatever a server sends. Only in fuzz builds and unit tests.

use redis::Value;
use tokio::io::AsyncWriteExt;

use super::reply_reader::{Bounds, RawReply, ReplyReader};
use crate::memory::MemoryLimit;

/// The bounds under which a reply is read: small ones, so that small inputs reach them.
const BOUNDS: [Bounds; 4] = [
    Bounds { bytes: 4096, skips_larger: false, has_rows: false, may_be_array: false },
    Bounds { bytes: 12, skips_larger: false, has_rows: false, may_be_array: false },
    Bounds { bytes: 40, skips_larger: false, has_rows: true, may_be_array: false },
    Bounds { bytes: 12, skips_larger: true, has_rows: false, may_be_array: true },
];

/// Asserts that the sizes of reads change nothing, that no text is larger than its bound, and that
/// each accepted reply is a single value for the redis crate, too, and the same one.
pub(crate) fn check(bytes: &[u8]) {
    for bounds in BOUNDS {
        let whole = read(bytes, 1 << 16, bounds);
        for piece in [1, 3] {
            assert_eq!(read(bytes, piece, bounds), whole, "in pieces of {piece}: {bounds:?}");
        }
        let (result, rest) = whole;
        // A head, and a text that was skipped, have no value. The crate refuses lines that are no UTF-8.
        let is_utf8 = bytes.starts_with(b"$") || std::str::from_utf8(bytes).is_ok();
        if is_utf8 && !["Err", "Array", "Skipped"].iter().any(|other| result.starts_with(other)) {
            assert_eq!(result, read_by_crate(&bytes[..bytes.len() - rest.len()]), "{bounds:?}");
        }
    }
}

/// The result of reading these bytes, which arrive in pieces of this size, and what follows the reply. Then the
/// connection is closed.
pub(super) fn read(bytes: &[u8], piece: usize, bounds: Bounds) -> (String, Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let (near, mut far) = tokio::io::duplex(piece);
    let write = async move {
        // The reader closes the stream at the first fault.
        let _ = far.write_all(bytes).await;
    };
    let read = async {
        let mut reader = ReplyReader::new(near, MemoryLimit::new(1 << 20).share());
        let reply = reader.read(bounds).await;
        if let Ok(RawReply::Text(text)) = &reply {
            assert!(text.len() as u64 <= bounds.bytes.max(4096), "{} bytes", text.len());
        }
        let result = match reply {
            Ok(RawReply::Text(text)) => format!("text {:?}", String::from_utf8_lossy(&text)),
            Ok(RawReply::Refused(error)) => {
                format!("refused {:?} {:?}", error.code(), error.detail().unwrap_or_default())
            }
            Ok(other) => format!("{other:?}"),
            Err(fault) => format!("Err({fault:?})"),
        };
        let mut rest = Vec::new();
        if !result.starts_with("Err") {
            reader.read_rest(&mut rest).await;
        }
        (result, rest)
    };
    runtime.block_on(async { tokio::join!(read, write) }).0
}

/// The value that the redis crate reads.
fn read_by_crate(bytes: &[u8]) -> String {
    match redis::parse_redis_value(bytes) {
        Ok(Value::BulkString(text)) => format!("text {:?}", String::from_utf8_lossy(&text)),
        Ok(Value::SimpleString(text) | Value::VerbatimString { text, .. }) => format!("text {text:?}"),
        Ok(Value::Okay) => "text \"OK\"".to_owned(),
        Ok(Value::Int(number)) => format!("Number({number})"),
        Ok(Value::Nil) => "Nothing".to_owned(),
        Ok(Value::ServerError(error)) => {
            format!("refused {:?} {:?}", Some(error.code()), error.details().unwrap_or_default())
        }
        other => format!("{other:?}"),
    }
}
