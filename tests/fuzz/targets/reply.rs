#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_client_exporter::fuzzing;

fuzz_target!(|data: &[u8]| fuzzing::reply(data));
