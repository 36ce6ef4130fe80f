//! draft
pub mod client_list;
pub mod server_info;
pub mod catalogue;
pub mod sample;
pub mod snapshot;
pub mod latest;
