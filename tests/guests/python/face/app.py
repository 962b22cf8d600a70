"""Keys and values by `wasi:keyvalue@0.2.0-draft`, and objects by `wasi:blobstore@0.2.0-draft`, in
Python: made by componentize-py from the published WIT. Does what the guests of `faces` do;
`objects` puts the value as the object `key` of a container, and answers what it then finds there.
"""

import json
from urllib.parse import parse_qs, urlsplit

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import atomics, batch, blobstore, store
from wit_world.imports.wasi_blobstore_types import IncomingValue, ObjectId, OutgoingValue
from wit_world.imports.wasi_http_types import (
    Fields,
    IncomingRequest,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

KEYS = ["get", "set", "delete", "exists", "list"]
MORE = ["increment", "get-many", "set-many", "delete-many", "resume", "objects"]


def text(value):
    return None if value is None else value.decode()


def keys(bucket):
    found, cursor = [], None
    while True:
        page = bucket.list_keys(cursor)
        found += page.keys
        cursor = page.cursor
        if cursor is None:
            return found


def resume(name):
    first = store.open(name).list_keys(None)
    second = store.open(name).list_keys(first.cursor)
    return [page.keys[at] if page.keys else None for page, at in ((first, -1), (second, 0))]


def objects(name, key, value):
    container = blobstore.create_container(name)
    outgoing = OutgoingValue.new_outgoing_value()
    with outgoing.outgoing_value_write_body() as stream:
        container.write_data(key, outgoing)
        for at in range(0, len(value), 4096):
            stream.blocking_write_and_flush(value[at : at + 4096])
    OutgoingValue.finish(outgoing)
    blobstore.copy_object(ObjectId(name, key), ObjectId(name, key + ", copy"))
    part = IncomingValue.incoming_value_consume_sync(container.get_data(key, 1, 3))
    names, ended = container.list_objects().read_stream_object_names(10)
    size = container.object_info(key + ", copy").size
    return {"part": text(part), "names": names, "ended": ended, "size": size}


def run(asked):
    def field(name, default=""):
        return asked.get(name, [default])[0]

    name, key, value, op = field("store", "default"), field("key"), field("value"), field("op")
    if op not in KEYS + MORE:
        return 501, "this interface does not have it"
    if op == "objects":
        return 200, objects(name, key, value.encode())
    if op == "resume":
        return 200, resume(name)
    bucket = store.open(name)
    match op:
        case "get":
            outcome = text(bucket.get(key))
        case "set":
            outcome = bucket.set(key, value.encode())
        case "delete":
            outcome = bucket.delete(key)
        case "exists":
            outcome = bucket.exists(key)
        case "list":
            outcome = keys(bucket)
        case "increment":
            outcome = atomics.increment(bucket, key, int(field("delta", "0")))
        case "get-many":
            found = batch.get_many(bucket, json.loads(value))
            outcome = [None if pair is None else text(pair[1]) for pair in found]
        case "set-many":
            pairs = [(key, value.encode()) for key, value in json.loads(value)]
            outcome = batch.set_many(bucket, pairs)
        case "delete-many":
            outcome = batch.delete_many(bucket, json.loads(value))
    return 200, outcome


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam):
        query = urlsplit(request.path_with_query() or "").query
        try:
            status, outcome = run(parse_qs(query, keep_blank_values=True))
            body = json.dumps(outcome)
        except Err as error:
            status, body = 500, repr(error.value)
        response = OutgoingResponse(Fields.from_list([]))
        response.set_status_code(status)
        out = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with out.write() as stream:
            data = body.encode()
            for at in range(0, len(data), 4096):
                stream.blocking_write_and_flush(data[at : at + 4096])
        OutgoingBody.finish(out, None)
