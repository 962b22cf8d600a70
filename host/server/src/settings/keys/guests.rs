//! What runs: how much each call, package, tenant and driver may have of the node.

use super::Key;
use crate::settings::value;

keys! {
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
        "What of a memory stays resident, cleared, for the next instance to start faster; of all together no more than a tenth of the machine's memory.";
    size "engine.pool.resident_stack_bytes" => engine.pool.resident_stack_bytes:
        "What of a stack stays resident, cleared, for the next instance's calls.";
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
    time "api.linger_timeout" => api.linger_timeout:
        "Time for which the rest of a request's body is still taken once the request has been answered.";
    size "api.linger_bytes" => api.linger_bytes:
        "Bytes of it that are taken; then the connection is closed.";
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
    count "guest.pool_reserve_percent" => runtime.pool_reserve_percent:
        "What part of `engine.pool` is for tenants alone that have no more than a sixteenth of that part; at most 50.";
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
}
