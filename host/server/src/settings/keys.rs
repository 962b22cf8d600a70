//! Every setting, once: its key, where it goes, its form, and what it means. Reading a file,
//! reading the environment, and `canopy config` all work from this table.

use toml::Value;

use super::{Settings, value};

/// One setting.
pub(super) struct Key {
    /// Its key in the file, with the tables it is in, divided by dots.
    pub(super) name: &'static str,
    /// What it means.
    pub(super) doc: &'static str,
    /// How its value is written.
    pub(super) form: &'static str,
    /// Sets it.
    pub(super) set: fn(&mut Settings, &Value) -> Result<(), String>,
    /// Shows it as TOML; `None` if it is not set and has no default.
    pub(super) show: fn(&Settings) -> Option<String>,
}

impl Key {
    /// The environment variable that overrides it.
    pub(super) fn variable(&self) -> String {
        format!(
            "CANOPY_{}",
            self.name.replace('.', "_").to_ascii_uppercase()
        )
    }
}

macro_rules! keys {
    ($($form:ident $name:literal => $($field:ident).+ $(as $wrap:ident)? : $doc:literal;)*) => {
        /// All settings, in the order in which they are explained.
        pub(super) static KEYS: &[Key] = &[$(Key {
            name: $name,
            doc: $doc,
            form: value::$form::FORM,
            set: keys!(@set $form $($field).+ $(as $wrap)?),
            show: keys!(@show $form $($field).+ $(as $wrap)?),
        }),*];
    };
    (@set $form:ident $($field:ident).+) => {
        |settings, value| {
            settings.$($field).+ = value::$form::read(value)?;
            Ok(())
        }
    };
    (@set $form:ident $($field:ident).+ as option) => {
        |settings, value| {
            settings.$($field).+ = Some(value::$form::read(value)?);
            Ok(())
        }
    };
    (@show $form:ident $($field:ident).+) => {
        |settings| Some(value::$form::show(&settings.$($field).+))
    };
    (@show $form:ident $($field:ident).+ as option) => {
        |settings| settings.$($field).+.as_ref().map(value::$form::show)
    };
}

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

    flag "engine.wasi_p3" => engine.p3_enabled:
        "Whether components of WASI 0.3 are served.";
    flag "engine.source_lines" => engine.source_lines:
        "Whether backtraces of guests name source files and lines, read from debug information that the publisher wrote.";
    time "engine.tick" => engine.tick:
        "How often a running guest is interrupted to look at its budget; one that has run for two of these takes turns with others.";
    time "engine.host_time" => engine.host_time:
        "CPU time that the host may use in calls that a guest makes of it, for one request; the guest's own is limited by its package and plan.";
    size "engine.guest_stack_bytes" => engine.guest_stack_bytes:
        "Stack of a guest.";
    size "engine.call_stack_bytes" => engine.call_stack_bytes:
        "Stack of a guest and the host functions it calls together; at least 1 MiB more than `engine.guest_stack_bytes`.";
    size "engine.hostcall_bytes" => engine.hostcall_bytes:
        "What a guest may hand to the host in one call.";
    count "engine.handles" => engine.handles:
        "Component-model handles of one instance.";
    count "engine.concurrent_handles" => engine.concurrent_handles:
        "Streams, futures and tasks of one instance.";
    count "engine.pool.instances" => engine.pool.instances:
        "Component instances on the node at once.";
    count "engine.pool.memories" => engine.pool.memories:
        "Linear memories on the node at once.";
    count "engine.pool.tables" => engine.pool.tables:
        "Tables on the node at once.";
    count "engine.pool.stacks" => engine.pool.stacks:
        "Guest calls on the node at once, each with a stack.";
    size "engine.pool.memory_bytes" => engine.pool.memory_bytes:
        "The largest linear memory that any component may have.";
    count "engine.pool.table_elements" => engine.pool.table_elements:
        "The most elements that any table may have.";
    count "engine.pool.core_instances_per_component" => engine.pool.core_instances_per_component:
        "Core instances that one component may consist of.";
    count "engine.pool.memories_per_component" => engine.pool.memories_per_component:
        "Linear memories that one component may have.";
    count "engine.pool.tables_per_component" => engine.pool.tables_per_component:
        "Tables that one component may have.";
    size "engine.pool.resident_memory_bytes" => engine.pool.resident_memory_bytes:
        "What of a memory stays resident, cleared, for the next instance to start faster.";
    count "engine.pool.resident_components" => engine.pool.resident_components:
        "Components kept loaded though nothing uses them.";
    size "engine.compile.memory_bytes" => engine.compile.memory_bytes:
        "Memory for compiling one component.";
    count "engine.compile.cpu_seconds" => engine.compile.cpu_seconds:
        "Processor time for compiling one component, in seconds.";
    count "engine.compile.wall_seconds" => engine.compile.wall_seconds:
        "Time for compiling one component, in seconds.";
    size "engine.compile.artifact_bytes" => engine.compile.artifact_bytes:
        "Native code of one component.";
    count "engine.compile.concurrency" => engine.compile.concurrency:
        "Components compiled at once.";
    count "engine.compile.queue" => engine.compile.queue:
        "Compilations that may wait; further ones are refused.";

    time "limits.stream_idle" => app.default_limits.stream_idle:
        "Time between two pieces of a response that goes on for longer than others may.";
    size "limits.default.memory" => app.default_limits.memory_bytes:
        "Memory of one instance of a package that asks for nothing else.";
    time "limits.default.cpu" => app.default_limits.cpu:
        "Processor time of one call of such a package; waiting is not counted.";
    time "limits.default.wall" => app.default_limits.wall:
        "Time from a request's arrival to the end of its response, for such a package.";
    time "limits.default.stream" => app.default_limits.stream:
        "Time from a request's arrival to the end of a response that streams, for a package that asks for nothing else. Where it is not longer than the time of any response it says nothing.";
    count "limits.default.concurrency" => app.default_limits.concurrency:
        "Requests of one installation of such a package under way at once.";
    count "limits.default.instances" => app.default_limits.instances:
        "Stores at once of a driver whose package asks for no other number.";
    size "limits.default.request_body" => app.default_limits.request_body_bytes:
        "Body of one request to such a package.";
    size "limits.max.memory" => app.max_limits.memory_bytes:
        "Memory that a package may ask for; asking for more is refused at publish, as for all of these.";
    time "limits.max.cpu" => app.max_limits.cpu:
        "Processor time that a package may ask for.";
    time "limits.max.wall" => app.max_limits.wall:
        "Time that a package may ask for.";
    time "limits.max.stream" => app.max_limits.stream:
        "Time of a response that streams, that a package may ask for.";
    count "limits.max.concurrency" => app.max_limits.concurrency:
        "Concurrent requests that a package may ask for.";
    count "limits.max.instances" => app.max_limits.instances:
        "Stores at once that a driver's package may ask for, and a plan may allow.";
    size "limits.max.request_body" => app.max_limits.request_body_bytes:
        "Size of a request's body that a package may ask for.";

    count "plan.concurrency" => app.tenant_limits.concurrency:
        "Requests of one tenant under way at once, where its plan says nothing else, as for all of these.";
    count "plan.requests_per_second" => app.tenant_limits.requests_per_second:
        "Requests a second of one tenant in the long run.";
    count "plan.burst" => app.tenant_limits.burst:
        "Requests of one tenant that are let in at once after a quiet time.";
    count "plan.connections" => app.tenant_limits.connections:
        "Connections of clients that carry one tenant's requests, open at once.";
    count "plan.weight" => app.tenant_limits.weight:
        "A tenant's share of a busy node, compared with the weights of others.";
    count "plan.egress_connections" => app.tenant_limits.egress.connections:
        "Outgoing requests under way and connections of sockets of one tenant, at once.";
    count "plan.egress_requests_per_second" => app.tenant_limits.egress.requests_per_second:
        "Outgoing requests, look-ups of names and new sockets a second of one tenant.";
    size "plan.egress_bytes_per_day" => app.tenant_limits.egress.bytes_per_day:
        "Bytes of outgoing requests, their responses and sockets of one tenant, in a day (UTC).";
    time "plan.cpu_per_second" => app.tenant_limits.cpu_per_second:
        "Processor time of one tenant's calls together, what the platform does in them and its statements of SQL included, each second in the long run; 1 s is one core.";
    time "plan.cpu_burst" => app.tenant_limits.cpu_burst:
        "Processor time of one tenant's calls together, likewise, at once after a quiet time.";
    count "plan.installation_requests_per_second" => app.max_limits.requests_per_second:
        "Requests a second of one installation in the long run.";
    count "plan.installation_burst" => app.max_limits.burst:
        "Requests of one installation that are let in at once after a quiet time.";
    size "plan.storage_bytes" => app.storage_quota.tenant_bytes:
        "What all installations of one tenant may store, of all kinds.";
    size "plan.key_value_bytes" => app.storage_quota.key_value.bytes:
        "Keys and values of one installation.";
    count "plan.keys" => app.storage_quota.key_value.items:
        "Keys of one installation.";
    size "plan.blob_bytes" => app.storage_quota.blobs.bytes:
        "Objects of one installation.";
    count "plan.objects" => app.storage_quota.blobs.items:
        "Objects of one installation.";
    size "plan.sql_bytes" => app.storage_quota.sql.bytes:
        "SQL databases of one installation.";
    count "plan.databases" => app.storage_quota.sql.items:
        "SQL databases of one installation.";

    count "api.max_connections" => api.max_connections:
        "Connections to the control API at once; further ones wait.";
    count "api.backlog" => api_backlog:
        "Connections to it that wait to be accepted; those beyond it have to try again.";
    count "api.max_connections_per_address" => api.max_connections_per_address:
        "Connections to it at once from one address, or one network of 64 bits of IPv6; further ones are closed. Never more than half of all. Proxies of `edge.trusted_proxies` have no such limit.";
    time "api.header_timeout" => api.header_timeout:
        "Time for a client of the API to send the head of a request, and for which an HTTP/1.1 connection may be idle.";
    time "api.body_idle_timeout" => api.body_idle_timeout:
        "Time without a further byte of a request body, after which it is broken off.";
    time "api.write_stall_timeout" => api.write_stall_timeout:
        "Time in which a client takes nothing of what is sent, after which its connection is closed.";
    count "api.max_headers" => api.max_headers:
        "Header fields of one request to the API; beyond it status 431.";
    size "api.max_header_bytes" => api.max_header_bytes:
        "Head of one request to the API; a longer one is refused with status 431.";
    count "api.http2_max_streams" => api.http2_max_streams:
        "Requests of one HTTP/2 connection under way at once.";
    count "api.http2_control_frames" => api.http2_control_frames:
        "HTTP/2 frames a second of one connection that bring no request forward, five times as many at once; beyond it the connection is closed.";
    time "api.http2_ping_interval" => api.http2_ping_interval:
        "Time between two liveness checks of an HTTP/2 connection, and for the answer to one.";
    time "api.http2_idle_timeout" => api.http2_idle_timeout:
        "Time after which an HTTP/2 connection is closed on which no request is being answered, and of no answer the client takes anything.";
    size "api.http2_window" => api.http2_window:
        "Bodies that a client may send over one HTTP/2 connection ahead of whoever takes them, half as much on one stream; never less than 65535.";
    size "api.http2_all_windows" => api.http2_all_windows:
        "The same of all connections together; as it is used up, each further one has less, 65535 at last.";
    size "api.http2_send_buffer" => api.http2_send_buffer:
        "What of one response waits for an HTTP/2 client to take it.";
    time "api.drain_grace" => api.drain_grace:
        "Time for requests to the API to finish when the node is told to stop.";
    text "api.tls.certificate" => api_tls.certificate as option:
        "File of the certificate of the control API and its chain (PEM). With it the API is answered by TLS alone. Read again when it changes.";
    text "api.tls.key" => api_tls.key as option:
        "File of its key (PEM).";
    time "api.tls.handshake_timeout" => api_tls.handshake_timeout:
        "Time for a client's TLS handshake, after which its connection is closed.";
    time "api.tls.check_interval" => api_tls.check_interval:
        "How often the files are looked at for changes. Connections that are open stay open.";

    count "control.publications" => app.publications:
        "Versions that are validated at once; further ones wait.";
    time "control.trial_cpu" => app.trial_cpu:
        "Processor time of a component's start functions when it is tried at publish, or that of its calls where that is less.";
    size "control.config" => app.config_bytes:
        "One configuration as JSON.";
    size "control.secret" => app.secret_bytes:
        "One secret.";
    count "control.egress_rules" => app.egress_rules:
        "Egress rules of one installation or driver instance.";
    count "control.domains" => app.domains:
        "Custom domains of one installation.";
    count "control.attributes" => app.attributes:
        "Attributes of one tenant.";
    count "control.roles" => app.roles:
        "Roles of one service token.";

    count "guest.resources" => runtime.resources:
        "Host resources, as streams and buckets, of one instance; one more traps.";
    size "guest.headers" => runtime.header_bytes:
        "One set of HTTP headers in a guest.";
    text "guest.node_memory" => node_memory:
        "Memory of all instances of the node together: a share of what the machine, or the control group that the node runs in, has, as \"70 %\", or a size, as \"8 GiB\".";
    size "guest.tenant_memory" => app.tenant_limits.memory_bytes:
        "Memory of all instances of one tenant together, drivers included, where its plan says nothing else; beyond it a guest is refused memory, as at its own limit. Never more than half of `guest.node_memory`.";
    count "guest.tenant_instances" => runtime.tenant_slots.instances:
        "Component instances of one tenant at once, drivers and instances that wait included; at most half of `engine.pool.instances`.";
    count "guest.tenant_memories" => runtime.tenant_slots.memories:
        "Linear memories of all instances of one tenant together; at most half of `engine.pool.memories`.";
    count "guest.tenant_tables" => runtime.tenant_slots.tables:
        "Tables of all instances of one tenant together; at most half of `engine.pool.tables`.";
    size "guest.kept" => runtime.kept_bytes:
        "What the node keeps for one instance beside its memory: header fields, values of calls under way with 1 KiB more for each, results that are not taken; one call that is alone may have more.";
    size "guest.random" => runtime.random_bytes:
        "Random bytes that a guest may ask for at once; more traps.";
    time "guest.clock_grain" => runtime.clock_grain:
        "What the times that guests are told are multiples of: what cannot be timed finely cannot be learned by timing. 0 s leaves a nanosecond.";
    count "guest.reuse_requests" => runtime.reuse_requests:
        "Requests that one WASI 0.3 instance serves, one after the other, before it is replaced; also one of WASI 0.2 whose package asks for it.";
    time "guest.reuse_idle" => runtime.reuse_idle:
        "How long a WASI 0.3 instance waits for its next request.";
    count "guest.reuse_instances" => runtime.reuse_instances:
        "WASI 0.3 instances of one installation that wait at once.";
    count "guest.prepared_installations" => runtime.prepared_installations:
        "Installations that are kept ready to answer. Beyond it those that were not asked for longest are made ready anew by the next request.";
    count "guest.driver_resources" => runtime.driver_resources:
        "Resources of drivers that one instance may hold; one more traps.";

    size "driver.hostcall" => runtime.driver_hostcall_bytes:
        "What a component that calls drivers, or is one, may hand over in one call, as held in memory: a list of numbers takes its bytes, any other value 32 beside its text.";
    count "driver.resources" => runtime.driver_store_resources:
        "Host resources, as sockets and header fields, of one store of a driver, which serves the calls of many; one more traps.";
    count "driver.held" => runtime.drivers.held:
        "Resources that one application may hold in one store of a driver, where one counts for as many as the store has host resources for it.";
    size "driver.kept" => runtime.driver_kept_bytes:
        "What the node keeps for one store of a driver beside its memory, as `guest.kept`.";
    count "driver.queue" => runtime.drivers.queue:
        "Calls under way or waiting for one driver instance.";
    count "driver.streams" => runtime.drivers.streams:
        "Streams and futures open between one store of a driver instance and its callers.";
    count "driver.depth" => runtime.drivers.depth:
        "How many drivers deep a call may go.";
    time "driver.start_timeout" => runtime.drivers.start_timeout:
        "Time for starting a driver instance.";
    time "driver.check_timeout" => runtime.drivers.check_timeout:
        "Time for a driver to find out whether its configuration works, by connecting.";
    count "driver.unbind_attempts" => app.unbind.attempts:
        "How often a driver is told that a binding has ended, where it does not take it.";
    time "driver.unbind_retry" => app.unbind.retry_after:
        "After what time it is told again; twice as long each further time.";
    time "driver.abandoned_grace" => runtime.drivers.abandoned_grace:
        "How long a driver's call goes on when nobody waits for it any more; then the instance is replaced.";
    time "driver.destructor_timeout" => runtime.drivers.destructor_timeout:
        "Time for the destructor of a driver's resource; then the instance is replaced.";
    time "driver.idle_timeout" => runtime.drivers.idle_timeout:
        "How long a store of a driver that owns no resources is kept without a call.";
    time "driver.backoff_initial" => runtime.drivers.backoff_initial:
        "Pause after a driver failed to start, or trapped again without an answer in between, doubled each time.";
    count "driver.breaker" => runtime.drivers.breaker:
        "Failed starts and traps of a driver in a row after which calls are refused until the pause is over; 0 never refuses.";
    time "driver.backoff_max" => runtime.drivers.backoff_max:
        "The longest such pause.";

    text "keys.operator_key_file" => keys.operator_key_file as option:
        "File of the key that wraps all others; operator.key in the data folder if not set. The first start makes it. Better kept on another disk than the data.";
    list "keys.operator_key_command" => keys.operator_key_command:
        "Program that prints that key, and its arguments, in place of the file.";
    time "keys.operator_key_timeout" => keys.operator_key_timeout:
        "Time for that program.";
    text "keys.previous_operator_key_file" => keys.previous_operator_key_file as option:
        "File of the key before, to change it: the next start wraps all keys with the new one. Then remove the setting and the file.";

    size "storage.bucket_name" => storage.limits.bucket_name_bytes:
        "A bucket's name.";
    size "storage.key" => storage.limits.key_bytes:
        "A key.";
    size "storage.value" => storage.limits.value_bytes:
        "A value.";
    count "storage.batch_keys" => storage.limits.batch_keys:
        "Keys of one operation.";
    size "storage.batch" => storage.limits.batch_bytes:
        "Keys and values of one operation together.";
    count "storage.page_keys" => storage.limits.page_keys:
        "Keys of one page of a listing.";
    count "storage.open_databases" => storage.open_databases:
        "Databases open at once; each takes 3 file descriptors and 3 more for each reader in use.";
    count "storage.tenant_databases" => storage.tenant_databases:
        "Databases of one tenant open at once; for a further one the tenant's own used least recently is closed.";
    time "storage.open_wait" => storage.open_wait:
        "How long an operation waits for a database to be opened when all are in use.";
    time "storage.idle_close" => storage.idle_close:
        "Time without use after which a database is closed.";
    count "storage.readers" => storage.readers:
        "Readings of one database that go on at once.";
    size "storage.cache" => storage.cache_bytes:
        "Memory for pages, of each connection to a database.";
    count "storage.commit_writes" => storage.commit_writes:
        "Writes of one installation that are committed together.";
    size "storage.queue" => storage.queue_bytes:
        "Writes of one installation that wait to be committed; further ones wait to be let in.";

    size "blobs.name" => blobs.limits.name_bytes:
        "A container's or an object's name.";
    size "blobs.object" => blobs.limits.object_bytes:
        "An object put in one piece, or a part of one.";
    size "blobs.metadata" => blobs.limits.metadata_bytes:
        "Metadata and content type of an object.";
    count "blobs.parts" => blobs.limits.parts:
        "Parts of one upload, and the greatest number of one.";
    count "blobs.uploads" => blobs.limits.uploads:
        "Uploads in parts of one installation that are under way.";
    count "blobs.concurrent_writes" => blobs.limits.concurrent_writes:
        "Bodies of one installation that are written at once.";
    count "blobs.concurrent_reads" => blobs.limits.concurrent_reads:
        "Bodies of one installation that are read at once; each holds up to 512 KiB of memory.";
    count "blobs.batch" => blobs.limits.batch:
        "Objects named by one operation.";
    count "blobs.containers" => blobs.limits.containers:
        "Containers of one installation.";
    count "blobs.page" => blobs.limits.page:
        "Entries of one page of a listing.";
    size "blobs.page_bytes" => blobs.limits.page_bytes:
        "Names and metadata of one page of a listing of objects.";
    count "blobs.open_indexes" => blobs.open_stores:
        "Installations whose index of objects is open at once; each takes 3 file descriptors.";
    count "blobs.tenant_indexes" => blobs.tenant_stores:
        "Installations of one tenant whose index of objects is open at once; for a further one the tenant's own used least recently is closed.";
    time "blobs.open_wait" => blobs.open_wait:
        "How long an operation waits for an index to be opened when all are in use.";
    time "blobs.idle_close" => blobs.idle_close:
        "Time without use after which an index is closed.";
    time "blobs.upload_expiry" => blobs.upload_expiry:
        "Time after which an upload in parts to which nothing was added is removed.";
    size "blobs.cache" => blobs.cache_bytes:
        "Memory for pages of each open index.";
    size "blobs.sync" => runtime.blobs.sync_bytes:
        "A body that wasi:blobstore gives in one piece; longer ones are read as streams.";
    time "blobs.address_expiry" => runtime.blobs.address_expiry:
        "The longest time for which a pre-signed address works.";

    size "sql.statement" => sql.limits.statement_bytes:
        "Text of a SQL statement.";
    size "sql.value" => sql.limits.value_bytes:
        "A value, and a row as it is stored. Bounds what a single function of SQLite can take: see docs/sql.md before raising it.";
    count "sql.parameters" => sql.limits.parameters:
        "Parameters of a statement.";
    count "sql.batch" => sql.limits.batch_statements:
        "Statements of a batch.";
    size "sql.row" => sql.limits.row_bytes:
        "Bytes of a row of a result.";
    count "sql.result_rows" => sql.limits.result_rows:
        "Rows of a result.";
    size "sql.result" => sql.limits.result_bytes:
        "Bytes of a result.";
    size "sql.list" => sql.limits.list_bytes:
        "Bytes of a result that is handed over as one list, as spin:sqlite does.";
    time "sql.statement_time" => sql.statement_time:
        "Time that a statement runs, without that in which its rows wait to be taken.";
    time "sql.transaction_time" => sql.transaction_time:
        "How long a transaction, or a result that is not read to its end, may stay open.";
    time "sql.wait" => sql.wait:
        "How long a statement waits to begin: for the writer, a connection, a thread.";
    size "sql.memory" => sql.statement_memory_bytes:
        "Memory of a statement: for sorting, and for what it may have to undo.";
    size "sql.tenant_memory" => sql.tenant_memory_bytes:
        "Memory of all statements of one tenant together, beside 1 MiB for each.";
    size "sql.node_memory" => sql.node_memory_bytes:
        "Memory of all statements of the node together, beside 1 MiB for each.";
    count "sql.columns" => sql.columns:
        "Columns of a table, a result or an index.";
    count "sql.expression_depth" => sql.expression_depth:
        "Depth of an expression.";
    count "sql.compound_selects" => sql.compound_selects:
        "SELECTs joined by UNION and the like.";
    count "sql.instructions" => sql.program_instructions:
        "Instructions of a compiled statement.";
    count "sql.function_arguments" => sql.function_arguments:
        "Arguments of a function.";
    size "sql.pattern" => sql.pattern_bytes:
        "A pattern of LIKE or GLOB.";
    count "sql.trigger_depth" => sql.trigger_depth:
        "Depth of triggers that set off triggers.";
    count "sql.readers" => sql.readers:
        "Connections of one database that read or are in a transaction at once; one more writes.";
    count "sql.tenant_statements" => sql.tenant_statements:
        "Statements of one tenant that run at once.";
    count "sql.node_statements" => sql.node_statements:
        "Statements of the node that run at once, each on a thread of its own.";
    count "sql.open_connections" => sql.open_connections:
        "Open connections of the node; each takes 3 file descriptors. Beyond that idle ones are closed.";
    time "sql.idle_close" => sql.idle_close:
        "Time without use after which a connection is closed.";
    size "sql.cache" => sql.cache_bytes:
        "Memory for pages, of each connection.";
    count "sql.cached_statements" => sql.cached_statements:
        "Compiled statements that a connection keeps.";
    time "sql.migration_time" => sql.migration_time:
        "Time that the migrations of one version may take together.";
    size "sql.migration_memory" => sql.migration_memory_bytes:
        "Memory of a statement of a migration.";

    text "backup.dir" => backup_dir as option:
        "Folder of the repository to which backups go, best on another disk. Without it a request must name one.";
    list "backup.roots" => backup_roots:
        "Folders below which a request may name another repository.";
    text "backup.schedule" => backup_schedule as option:
        "When the node is backed up to `backup.dir` by itself: a cron expression such as `0 3 * * *`, in UTC. A time that comes while the node is down is made up for at its start.";
    flag "backup.prune" => backup_prune:
        "Whether each such backup is followed by pruning by `backup.keep_…`.";
    count "backup.keep_last" => app.upkeep.keep.last:
        "Newest snapshots of each scope that pruning keeps.";
    count "backup.keep_daily" => app.upkeep.keep.daily:
        "Days of which pruning keeps the newest snapshot.";
    count "backup.keep_weekly" => app.upkeep.keep.weekly:
        "Weeks of which pruning keeps the newest snapshot.";
    count "backup.keep_monthly" => app.upkeep.keep.monthly:
        "Months of which pruning keeps the newest snapshot.";
    time "export.keep" => app.upkeep.export_kept:
        "How long an export waits on the node to be fetched.";
    time "import.keep" => app.upkeep.import_kept:
        "How long an archive may take to arrive whole.";
    size "import.size" => app.upkeep.import_bytes:
        "An archive that is imported.";
    time "erase.tombstone" => app.upkeep.tombstone:
        "How long a tenant that was erased answers no more but can be brought back.";
    time "schedules.interval" => app.schedules.interval:
        "Shortest time between two scheduled calls of one schedule. A package that asks for more is refused.";
    count "schedules.concurrent" => app.schedules.concurrency:
        "Scheduled calls of the node under way at once; further ones wait.";
    count "schedules.tenant_concurrent" => app.schedules.tenant_concurrency:
        "Scheduled calls of one tenant under way at once; further ones wait.";
    count "schedules.attempts" => app.schedules.attempts:
        "How often a scheduled call is tried that fails.";
    time "schedules.retry_after" => app.schedules.retry_after:
        "After what time it is tried again; twice as long each further time.";
    time "schedules.retry_after_most" => app.schedules.retry_after_most:
        "After what time at most.";
    count "schedules.keep" => app.schedules.kept:
        "Calls of one schedule that have ended and are still listed.";
    size "messages.size" => runtime.messages.queue.message_bytes:
        "Body of one message between applications. It is a value of the key-value storage, so `storage.value` must have room for it.";
    count "messages.waiting" => runtime.messages.queue.waiting:
        "Messages that wait for one installation.";
    count "messages.dead" => runtime.messages.queue.dead:
        "Messages to one installation that were given up and are kept.";
    time "messages.delay" => runtime.messages.delay_most:
        "For how long a message may be held back.";
    count "messages.attempts" => runtime.messages.attempts:
        "How often a message is delivered that is not taken.";
    time "messages.retry_after" => runtime.messages.retry_after:
        "After what time it is delivered again; twice as long each further time.";
    time "messages.retry_after_most" => runtime.messages.retry_after_most:
        "After what time at most.";
    count "messages.concurrent" => runtime.messages.concurrency:
        "Deliveries of the node under way at once; further ones wait.";
    count "messages.tenant_concurrent" => runtime.messages.tenant_concurrency:
        "Deliveries of one tenant under way at once; further ones wait.";
    time "jobs.keep" => app.upkeep.jobs_kept:
        "How long jobs that have ended are listed.";

    size "logs.message" => logs.message_bytes:
        "One message of an application's log; the rest is cut off.";
    size "logs.file" => logs.file_bytes:
        "A log file; when it is full the next begins.";
    count "logs.files" => logs.files:
        "Files of one log that are kept.";
    size "logs.queue" => logs.queue_bytes:
        "Records of one log that wait to be written; what comes on top is dropped and counted.";
    size "logs.node_queue" => logs.node_queue_bytes:
        "The same for all logs of the node together.";
    size "logs.bytes_per_second" => logs.bytes_per_second:
        "What one log takes a second in the long run; what comes on top is dropped and counted.";
    size "logs.burst" => logs.burst_bytes:
        "What one log takes at once after a quiet time.";
    count "logs.page_records" => logs.page_records:
        "Records of one page of a log.";
    count "logs.open_files" => logs.open_files:
        "Log files open for writing at once.";
}
