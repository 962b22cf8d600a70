//! What streams and futures of `spin:postgres@4.2.0` carry. No part of the platform serves it.

use wasmtime::component::bindgen;

mod bindings {
    #![allow(
        missing_docs,
        dead_code,
        unused_qualifications,
        reason = "generated code, of which only the types are of use"
    )]

    super::bindgen!({
        inline: "
            package canopy:driver-payload;
            world payload { import spin:postgres/postgres@4.2.0; }
        ",
        path: "../../wit/deps/spin-postgres-4.2.0",
    });
}

pub(super) use bindings::spin::postgres::postgres::{DbValue, Error, QueryError};

macro_rules! range {
    ($of:literal) => {
        concat!(
            "tuple<option<tuple<",
            $of,
            ", enum {inclusive, exclusive}>>, ",
            "option<tuple<",
            $of,
            ", enum {inclusive, exclusive}>>>"
        )
    };
}

/// The type `row` in full.
pub(super) const ROW: &str = concat!(
    "list<variant {boolean(bool), int8(s8), int16(s16), int32(s32), int64(s64), floating32(f32), \
     floating64(f64), str(string), binary(list<u8>), date(tuple<s32, u8, u8>), \
     time(tuple<u8, u8, u8, u32>), datetime(tuple<s32, u8, u8, u8, u8, u8, u32>), timestamp(s64), \
     uuid(string), jsonb(list<u8>), decimal(string), range-int32(",
    range!("s32"),
    "), range-int64(",
    range!("s64"),
    "), range-decimal(",
    range!("string"),
    "), array-int32(list<option<s32>>), array-int64(list<option<s64>>), \
     array-decimal(list<option<string>>), array-str(list<option<string>>), \
     interval(record {micros: s64, days: s32, months: s32}), db-null, unsupported(list<u8>)}>"
);

/// What says how the rows ended, in full.
pub(super) const OUTCOME: &str = "result<_, variant {connection-failed(string), bad-parameter(string), \
     query-failed(variant {text(string), db-error(record {as-text: string, severity: string, \
     code: string, message: string, detail: option<string>, \
     extras: list<tuple<string, string>>})}), value-conversion-failed(string), other(string)}>";
