//! Instances of an installation's component, and which of them serve more than one request.
//!
//! A WASI 0.2 instance serves one request and is gone, unless its package asks for more. A WASI 0.3
//! instance waits for further requests of the same generation of the same installation, and serves
//! one at a time. That gives
//! up some of what 0.3 allows, and keeps what the platform promises: a trap ends its own request
//! alone, budgets are per request, and whoever asks `canopy:tenant/identity` gets the caller of the
//! one request there is.

use std::collections::VecDeque;
use std::time::Instant;

use canopy_capability_network::Ending;
use canopy_engine::{aside, forget_ticks};
use http::Request;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use crate::body::RequestBody;
use crate::guest::{GuestCall, GuestState};
use crate::handler::{self, Handles, HandlesPre, MessageDelivery};
use crate::socket::{self, SocketIncoming, SocketOpening, Websockets, WebsocketsPre};
use crate::{p2, p3};

/// An instance with more memory than this is not ended on a thread that others wait for.
const MUCH_MEMORY: usize = 16 << 20;

/// A component by the way it answers.
pub(crate) enum Program {
    /// `wasi:http/incoming-handler@0.2`.
    P2(ProxyPre<GuestState>),
    /// `wasi:http/handler@0.3`.
    P3(ServicePre<GuestState>),
    /// `canopy:networking/websocket`.
    Socket(WebsocketsPre<GuestState>),
    /// `wasmcloud:messaging/handler`.
    Message(HandlesPre<GuestState>),
}

/// What a guest is to do.
pub(crate) enum Work {
    /// To answer a request.
    Request(Request<RequestBody>),
    /// To take a connection.
    Socket(SocketOpening, SocketIncoming),
    /// To take a message.
    Message(MessageDelivery),
}

/// An instance by the way it answers.
enum Exports {
    P2(Proxy),
    P3(Service),
    Socket(Websockets),
    Message(Handles),
}

/// Where a guest's answer goes.
pub(crate) enum Reply {
    P2(oneshot::Sender<p2::Answer>),
    /// And what resolves when the response's body is read or dropped.
    P3(oneshot::Sender<p3::Answer>, oneshot::Receiver<()>),
    /// And what resolves when the connection has ended as it should.
    Socket(oneshot::Sender<socket::Answer>, oneshot::Receiver<()>),
    Message(oneshot::Sender<handler::Answer>),
}

/// One instance and its store.
pub(crate) struct Instance {
    /// Before the store, with which streams of WASI 0.3 end.
    _ending: Ending,
    pub(crate) store: Store<GuestState>,
    exports: Option<Exports>,
    served: usize,
}

impl Instance {
    /// An instance yet to be made in `store`.
    pub(crate) fn unborn(store: Store<GuestState>) -> Self {
        Self {
            _ending: store.data().network.ending(),
            store,
            exports: None,
            served: 0,
        }
    }

    /// A call begins.
    pub(crate) fn begin(&mut self, call: GuestCall) {
        self.store.data_mut().begin(call);
        forget_ticks(&mut self.store);
        let cpu = self.store.data().cpu.clone();
        cpu.tell_apart(&mut self.store);
    }

    /// Whether it has been made.
    pub(crate) fn is_there(&self) -> bool {
        self.exports.is_some()
    }

    /// Makes the instance: in a box, as [`Self::call`].
    pub(crate) async fn instantiate(&mut self, program: &Program) -> wasmtime::Result<()> {
        let store = &mut self.store;
        self.exports = Some(match program {
            Program::P2(pre) => Exports::P2(Box::pin(pre.instantiate_async(store)).await?),
            Program::P3(pre) => Exports::P3(Box::pin(pre.instantiate_async(store)).await?),
            Program::Socket(pre) => Exports::Socket(Box::pin(pre.instantiate_async(store)).await?),
            Program::Message(pre) => {
                Exports::Message(Box::pin(pre.instantiate_async(store)).await?)
            }
        });
        Ok(())
    }

    /// Runs the guest for one request, connection or message, to its end. What does so is some KiB, made in
    /// the box where it stays: each future around it would be copied with room for it.
    pub(crate) async fn call(&mut self, work: Work, reply: Reply) -> wasmtime::Result<()> {
        self.served += 1;
        let store = &mut self.store;
        match (&self.exports, work, reply) {
            (Some(Exports::P2(proxy)), Work::Request(request), Reply::P2(answer)) => {
                Box::pin(p2::run(store, proxy, request, answer)).await
            }
            (Some(Exports::P3(service)), Work::Request(request), Reply::P3(answer, done)) => {
                Box::pin(p3::run(store, service, request, answer, done)).await
            }
            (
                Some(Exports::Socket(guest)),
                Work::Socket(opening, incoming),
                Reply::Socket(answer, done),
            ) => Box::pin(socket::run(store, guest, opening, incoming, answer, done)).await,
            (Some(Exports::Message(guest)), Work::Message(message), Reply::Message(answer)) => {
                Box::pin(handler::run(store, guest, message, answer)).await
            }
            _ => Err(wasmtime::Error::msg(
                "the instance answers in another way than was asked for",
            )),
        }
    }

    /// Ends it. Giving back much memory takes the kernel milliseconds, in which others are served.
    pub(crate) fn end(self) {
        match self.store.data().limits.used() > MUCH_MEMORY {
            true => aside(|| drop(self)),
            false => drop(self),
        }
    }

    /// Whether it may serve a further request where instances serve up to `limit`, those of WASI
    /// 0.2 and those that take messages only if their package asks for it.
    pub(crate) fn is_reusable(&self, limit: usize, p2_asks: bool) -> bool {
        let of_its_kind = match &self.exports {
            Some(Exports::P2(_) | Exports::Message(_)) => p2_asks,
            Some(Exports::P3(_) | Exports::Socket(_)) => true,
            None => false,
        };
        of_its_kind && self.served < limit
    }
}

/// Instances that wait for a request, the one that has waited longest first.
#[derive(Default)]
pub(crate) struct Idle(Mutex<VecDeque<(Instant, Instance)>>);

impl Idle {
    /// The instance that served last.
    pub(crate) fn take(&self) -> Option<Instance> {
        self.0.lock().pop_back().map(|(_, instance)| instance)
    }

    /// Keeps an instance for the next request, and drops the one that has waited longest where
    /// there would be more than `limit`.
    pub(crate) fn put(&self, instance: Instance, limit: usize) {
        let surplus = {
            let mut idle = self.0.lock();
            idle.push_back((Instant::now(), instance));
            if idle.len() > limit {
                idle.pop_front()
            } else {
                None
            }
        };
        drop(surplus);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Since when the one that has waited longest does so.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.0.lock().front().map(|(since, _)| *since)
    }

    /// Drops the one that has waited longest, and says whether there was one.
    pub(crate) fn drop_oldest(&self) -> bool {
        let oldest = self.0.lock().pop_front();
        oldest.is_some()
    }

    /// Drops those that have been waiting since before `since`.
    pub(crate) fn drop_before(&self, since: Instant) {
        let dropped: Vec<_> = {
            let mut idle = self.0.lock();
            let count = idle.iter().take_while(|(at, _)| *at < since).count();
            idle.drain(..count).collect()
        };
        drop(dropped);
    }
}
