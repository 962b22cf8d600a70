//! The node itself, what it writes about itself, what goes out, and how requests come in.

use super::Key;
use crate::settings::value;

keys! {
    text "data_dir" => data_dir:
        "Folder for everything that the node keeps. Made if it is missing; nobody but its owner may write to it.";
    text "listen" => listen:
        "Address and port at which applications answer.";
    text "api_listen" => api_listen:
        "Address and port of the control API. It speaks TLS where `api.tls.certificate` is set, else plain HTTP; see `api_public`.";
    flag "api_public" => api_public:
        "Whether `api_listen` may be an address that other machines reach though the API speaks no TLS. Tokens would cross the network unencrypted, so put a proxy that speaks TLS before it.";
    text "base_domain" => base_domain:
        "Applications are at APP.TENANT.BASE_DOMAIN. Names below `localhost` lead to this machine without any DNS.";
    text "public_scheme" => app.scheme:
        "Scheme of the addresses of applications, as people outside see them: `https` behind a proxy that speaks TLS.";
    count "public_port" => app.port as option:
        "Port of those addresses. Without it, that of `listen`; 0 for the scheme's own.";
    text "operator_token_file" => operator_token_file as option:
        "File to which the first operator token is written, readable by its owner alone, when the node starts for the first time. Without it the token is printed, once.";
    size "upload_bytes" => upload_bytes:
        "Size of an uploaded component.";
    size "min_free_bytes" => min_free_bytes:
        "Space on the data folder's disk without which a node does not start.";
    text "log.format" => log.format:
        "Form of the node's own log, on standard error: `text` or `json`.";
    text "log.filter" => log.filter:
        "What is logged: a level, or levels by target, as in `info,canopy::request=off`. What the default leaves out of `h2` is what clients do wrong, which they could fill the log with.";
    size "log.queue" => log.queue_bytes:
        "Records of the node's own log that wait to be written. What comes on top, where whoever reads standard error does not keep up, is dropped and counted.";
    list "egress.private_networks" => private_networks:
        "Networks that are not public and that every tenant may nevertheless grant to its applications and drivers, as in `10.2.0.0/16`. A grant is still needed. To open a network to a single one, grant it that network: `canopy egress allow`.";
    list "egress.allow" => operator_egress.allow:
        "What applications and drivers may reach at all, each as a rule such as `*:443`, `https://*.example.com` or `*`; a grant is still needed.";
    list "egress.deny" => operator_egress.deny:
        "What none of them may reach, whatever else is said: rules as in `egress.allow`, or networks such as `198.51.100.0/24`, by whatever name one comes to them.";
    list "egress.trusted_certificates" => trusted_certificates:
        "Files of certificates (PEM) that are trusted beside the roots of the public web, as of a company's own authority.";
    time "egress.connect_timeout" => runtime.network.connect_timeout:
        "Time for one look-up, one connection and one TLS handshake, each.";
    time "egress.total_timeout" => runtime.network.total_timeout:
        "Time from an outgoing request to the end of its response.";
    count "egress.concurrent" => runtime.network.concurrent:
        "Outgoing requests and connections of one instance under way at once.";
    count "egress.per_call" => runtime.network.per_call:
        "Outgoing requests and connections of one instance during one call.";
    count "egress.tenant_lookups" => runtime.network.tenant_lookups:
        "Names looked up at once for one tenant; further ones wait. Each takes a thread until the system's resolver has answered or given up.";
    count "egress.lookups" => runtime.network.lookups:
        "Names looked up at once on the node, likewise.";
    size "egress.request_body" => runtime.network.request_body_bytes:
        "Body of an outgoing request.";
    size "egress.response_body" => runtime.network.response_body_bytes:
        "Body of the response to one.";
    size "egress.uri" => runtime.network.uri_bytes:
        "Path and query of an outgoing request.";
    size "egress.response_header" => runtime.network.response_header_bytes:
        "Status line and header fields of the response to one.";
    count "egress.response_headers" => runtime.network.response_headers:
        "Header fields of the response to one.";
    size "egress.body_chunk" => runtime.network.body_chunk_bytes:
        "What one write to an outgoing body may bring; a longer one is split.";
    size "egress.body_buffer" => runtime.network.body_buffer_bytes:
        "What bodies of WASI 0.2 that one call makes may keep unsent together; as it is used up, each takes less at once.";
    text "egress.proxy" => runtime.network.proxy as option:
        "Proxy through which all outgoing HTTP goes, as in `http://proxy.example.com:3128`. What names resolve to is then the proxy's to judge; sockets do not use it.";
    flag "egress.http2" => runtime.network.http2:
        "Whether outgoing requests by TLS may use HTTP/2, where the server offers it.";
    time "egress.idle_time" => runtime.network.idle_time:
        "Time without use after which an outgoing connection of HTTP is closed.";
    time "egress.connection_age" => runtime.network.connection_age:
        "Age beyond which no further request begins on one, so that its name is looked up again.";
    count "egress.idle_per_owner" => runtime.network.idle_per_owner:
        "Outgoing connections that one installation or driver keeps for its next request; 0 keeps none.";
    count "egress.idle_per_node" => runtime.network.idle_per_node:
        "Outgoing connections that the node keeps in all.";
    count "egress.refusal_records" => runtime.network.refusal_records:
        "Records of refused connections that the log of one installation or driver gets in a minute.";

    text "tls.listen" => tls.listen as option:
        "Address and port at which applications answer by TLS (1.2 and 1.3, HTTP/2 and HTTP/1.1). Without it there is no TLS.";
    text "tls.certificate" => tls.certificate as option:
        "File of the certificate and its chain (PEM), shown for every name that has no other. Read again when it changes.";
    text "tls.key" => tls.key as option:
        "File of its key (PEM).";
    text "tls.domains" => tls.domains as option:
        "Folder of further certificates, as of custom domains: `NAME.pem` with `NAME.key`, each shown for the names it says. One that cannot be used is reported and left out.";
    flag "tls.redirect" => tls.redirect:
        "Whether requests that come to `listen`, without TLS, are sent to `https`; the addresses of applications are then `https` too.";
    time "tls.handshake_timeout" => tls.handshake_timeout:
        "Time for a client's TLS handshake, after which its connection is closed.";
    time "tls.check_interval" => tls.check_interval:
        "How often the files are looked at for changes. Connections that are open stay open.";

    count "edge.max_connections" => edge.max_connections:
        "Connections open at once; further ones wait. Never so many that less than `edge.descriptor_reserve` is left.";
    count "edge.backlog" => backlog:
        "Connections that wait to be accepted; those beyond it have to try again. Never more than the system allows, as by net.core.somaxconn.";
    count "edge.descriptor_reserve" => descriptor_reserve:
        "File descriptors kept for databases, components and outgoing connections; at most half of what the system allows.";
    count "edge.max_connections_per_address" => edge.max_connections_per_address:
        "Connections open at once from one address, or one network of 64 bits of IPv6; further ones are closed. Never more than half of all. Trusted proxies have no such limit.";
    time "edge.header_timeout" => edge.header_timeout:
        "Time for a client to send the head of a request, and for which an HTTP/1.1 connection may be idle.";
    time "edge.body_idle_timeout" => edge.body_idle_timeout:
        "Time without a further byte of a request body, after which it is broken off.";
    time "edge.write_stall_timeout" => edge.write_stall_timeout:
        "Time in which a client takes nothing of what is sent, after which its connection is closed.";
    time "edge.linger_timeout" => edge.linger_timeout:
        "Time for which the rest of a request's body is still taken once the request has been answered.";
    size "edge.linger_bytes" => edge.linger_bytes:
        "Bytes of it that are taken; then the connection is closed.";
    time "edge.transfer_timeout" => edge.transfer_timeout:
        "Time for one transfer to or from a pre-signed address.";
    count "edge.max_headers" => edge.max_headers:
        "Header fields of one request; beyond it status 431.";
    size "edge.max_header_bytes" => edge.max_header_bytes:
        "Header fields of one request together; beyond it status 431.";
    size "edge.max_uri_bytes" => edge.max_uri_bytes:
        "Path and query of one request; beyond it status 414.";
    count "edge.http2_max_streams" => edge.http2_max_streams:
        "Requests of one HTTP/2 connection under way at once.";
    count "edge.http2_control_frames" => edge.http2_control_frames:
        "HTTP/2 frames a second of one connection that bring no request forward, as pings and resets, five times as many at once; beyond it the connection is closed.";
    count "edge.max_depth" => edge.max_depth:
        "How many applications deep a request may come that applications of this platform send on; beyond it status 508.";
    time "edge.http2_ping_interval" => edge.http2_ping_interval:
        "Time between two liveness checks of an HTTP/2 connection, and for the answer to one.";
    time "edge.http2_idle_timeout" => edge.http2_idle_timeout:
        "Time after which an HTTP/2 connection is closed on which no request is being answered, and of no answer the client takes anything.";
    size "edge.http2_window" => edge.http2_window:
        "Bodies that a client may send over one HTTP/2 connection ahead of whoever takes them, half as much on one stream; never less than 65535.";
    size "edge.http2_all_windows" => edge.http2_all_windows:
        "The same of all connections together; as it is used up, each further one has less, 65535 at last.";
    size "edge.http2_send_buffer" => edge.http2_send_buffer:
        "What of one response waits for an HTTP/2 client to take it.";
    count "edge.websockets" => edge.websockets:
        "WebSocket connections of one tenant open at once; beyond it status 429.";
    size "edge.websocket_message" => edge.websocket_message:
        "One message of a WebSocket client; a longer one closes the connection with 1009.";
    time "edge.websocket_idle" => edge.websocket_idle:
        "Time in which a WebSocket client gives no sign, asked for one three times; then its connection is closed with 1008.";
    time "edge.drain_grace" => edge.drain_grace:
        "Time for requests under way to finish when the node is told to stop.";
    list "edge.trusted_proxies" => edge.trusted_proxies:
        "Networks of proxies whose `X-Forwarded-*` fields are believed. From all others the fields are removed.";

    count "admission.node_concurrency" => admission.node_concurrency:
        "Requests under way on the node at once; beyond it, after waiting, status 503.";
    count "admission.node_reserve" => admission.node_reserve:
        "Of these, how many are kept for tenants that have few: one of the usual weight may have up to a fourth of what it leaves of them; at most half.";
    count "admission.max_waiting" => admission.max_waiting:
        "Requests that may wait for one installation, and for one tenant; fewer where they would wait in vain.";
    time "admission.max_wait" => admission.max_wait:
        "How long a request may wait for its turn.";
    time "admission.shed_after" => admission.shed_after:
        "How long the first of those who wait for an installation, a tenant, or of a tenant for the node, may have waited without anybody being served before further ones are refused at once, and those behind it that would wait in vain; and how much waiting a load that lasts is left with.";
    time "admission.retry_after" => admission.retry_after:
        "What a client that was refused for want of a slot is told to wait.";
}
