//! Generated bindings of sockets and TLS.

#![allow(
    missing_docs,
    dead_code,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    reason = "generated code"
)]

wit_bindgen::generate!({
    path: [
        "../../../wit/deps/io-0.2.12",
        "../../../wit/deps/clocks-0.2.12",
        "../../../wit/deps/sockets-0.2.12",
        "../../../wit/deps/tls-0.2.0-draft",
    ],
    inline: "
        package canopy:driver-net;

        world net {
            import wasi:sockets/instance-network@0.2.12;
            import wasi:sockets/ip-name-lookup@0.2.12;
            import wasi:sockets/tcp-create-socket@0.2.12;
            import wasi:sockets/tcp@0.2.12;
            import wasi:tls/types@0.2.0-draft;
        }
    ",
    features: ["tls"],
    generate_all,
});
