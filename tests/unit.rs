//! Tests of the library through its public API that need no server, no other program and no network. Together with the
//! unit tests beside the code they are `make unit`.

mod columns;
mod corpus;
mod frameworks;
mod grouping;
mod properties;
mod structure;
#[expect(dead_code, reason = "most of it is for the integration tests")]
mod support;
