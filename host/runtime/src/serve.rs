//! One request in one guest: what runs the guest, and what the caller gets from it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use canopy_backend_logs::{Entry, Level, Log, Source};
use canopy_capability_identity::CallFacts;
use canopy_driver::CallContext;
use canopy_engine::LimitExceeded;
use canopy_ids::RequestId;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiBody;

use crate::body::{CancelOnDrop, RequestBody, ResponseBody, Verdict};
use crate::call::{Call, Permit};
use crate::error::{BACKTRACE_LINES, ServeError};
use crate::guest::{CallerFacts, GuestCall};
use crate::installed::{Installed, Way};
use crate::instance::{Instance, Program, Reply, Work};
use crate::pace::Pace;
use crate::quiet::quietly;
use crate::run::{Collected, Run};
use crate::runtime::Inner;
use crate::spent::Spent;
use crate::stores::Stores;
use crate::{p2, p3};

/// What both kinds of guests answer.
type Answer = Result<Response<WasiBody>, String>;

/// Runs `installed` for one request.
pub(crate) async fn serve(
    inner: &Arc<Inner>,
    installed: Arc<Installed>,
    call: Call,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, ServeError> {
    quietly(pin!(answer(inner, installed, call, request))).await
}

async fn answer(
    inner: &Arc<Inner>,
    installed: Arc<Installed>,
    call: Call,
    request: Request<RequestBody>,
) -> Result<Response<ResponseBody>, ServeError> {
    let is_head = request.method() == Method::HEAD;
    let log = installed.stores.log().clone();
    let (task, mut answer, body_done) = Task::new(inner, installed, &call)?;
    let verdict = task.verdict.clone();
    let pace = task.pace.clone();
    let mut run = Run::new(task.run(Work::Request(request)));

    let answer = poll_fn(|context| {
        let ended = run.poll(context);
        match answer.take() {
            Some(answer) => Poll::Ready(Some(answer)),
            None => ended.map(|()| None),
        }
    });
    let response = match answer.await {
        Some(Ok(response)) => response,
        Some(Err(code)) => {
            let failure = ServeError::GuestError { code };
            write_down(&log, call.request_id, &failure);
            drop(body_done);
            run.turn().await;
            return Err(failure);
        }
        None => return Err(verdict.failure().unwrap_or(ServeError::NoResponse)),
    };

    let (head, body) = response.into_parts();
    let content_length = content_length(&head.headers);
    let no_body = is_head
        || matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let collected = match no_body {
        true => Collected::nothing(body),
        false => Collected::of(body, &mut run, &verdict).await,
    };
    let body_done = match collected.rest {
        Some(_) => {
            pace.go_on();
            Some(body_done)
        }
        None => {
            drop(body_done);
            run.turn().await;
            None
        }
    };
    let body = ResponseBody::new(
        collected,
        verdict,
        CancelOnDrop::new(run.detach()),
        content_length,
        no_body,
        body_done,
        (pace, call.permit),
    );
    Ok(Response::from_parts(head, body))
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// The answer of a guest that is still running.
enum Pending {
    P2(oneshot::Receiver<p2::Answer>),
    P3(oneshot::Receiver<p3::Answer>),
}

impl Pending {
    /// The answer, once it is there.
    fn take(&mut self) -> Option<Answer> {
        let told = |error: wasmtime_wasi_http::Error| error.to_string();
        match self {
            Self::P2(answer) => answer
                .try_recv()
                .ok()
                .map(|answer| answer.map_err(|error| told(error.into()))),
            Self::P3(answer) => answer
                .try_recv()
                .ok()
                .map(|answer| answer.map_err(|error| told(error.into()))),
        }
    }
}

/// A guest at work on one request, connection or message.
pub(crate) struct Task {
    inner: Arc<Inner>,
    installed: Arc<Installed>,
    request_id: RequestId,
    call: GuestCall,
    pub(crate) pace: Pace,
    reply: Reply,
    pub(crate) verdict: Verdict,
    spent: Spent,
    _permit: Permit,
}

impl Task {
    fn new(
        inner: &Arc<Inner>,
        installed: Arc<Installed>,
        call: &Call,
    ) -> Result<(Self, Pending, oneshot::Sender<()>), ServeError> {
        let (body_done, done) = oneshot::channel();
        let way = installed.requests.as_ref().ok_or(ServeError::NoRequests)?;
        let (reply, pending) = match &way.program {
            Program::P2(_) => {
                let (reply, answer) = oneshot::channel();
                (Reply::P2(reply), Pending::P2(answer))
            }
            Program::P3(_) | Program::Socket(_) | Program::Message(_) => {
                let (reply, answer) = oneshot::channel();
                (Reply::P3(reply, done), Pending::P3(answer))
            }
        };
        let task = Self::replying(inner, installed, call, reply);
        Ok((task, pending, body_done))
    }

    /// A guest that takes something, or does not, and says so by `reply`.
    pub(crate) fn replying(
        inner: &Arc<Inner>,
        installed: Arc<Installed>,
        call: &Call,
        reply: Reply,
    ) -> Self {
        let facts = CallFacts {
            caller: call.caller.clone(),
            installation: installed.installation.clone(),
        };
        let caller = Arc::new(CallerFacts {
            request_id: call.request_id,
            depth: call.depth,
            facts: Some(facts),
            storage: installed.stores.storage().clone(),
        });
        let pace = Pace::new(call.deadline, &installed.stores.component().limits);
        Self {
            inner: inner.clone(),
            installed,
            request_id: call.request_id,
            // What a guest calls meanwhile may take as long as the answer may.
            call: CallContext::new(caller, pace.end()),
            pace,
            reply,
            verdict: Verdict::default(),
            spent: call.spent.clone(),
            _permit: call.permit.clone(),
        }
    }

    pub(crate) async fn run(self, work: Work) {
        let Self {
            inner,
            installed,
            request_id,
            call,
            pace,
            reply,
            verdict,
            spent,
            _permit,
        } = self;
        let stores = &installed.stores;
        let Some(Way { program, idle }) = installed.way(&work) else {
            let message = "the component is not called in this way";
            verdict.fail(ServeError::Internal(message.into()));
            return;
        };
        let guard = PanicGuard(Some(verdict.clone()));
        let mut waiting = idle.take();
        let (mut instance, mut outcome) = loop {
            let mut instance = match waiting.take().map_or_else(|| fresh(&inner, stores), Ok) {
                Ok(instance) => instance,
                Err(failure) => {
                    guard.disarm();
                    write_down(stores.log(), request_id, &failure);
                    verdict.fail(failure);
                    return;
                }
            };
            instance.begin(call.clone());
            spent.begin(instance.store.data().cpu.clone());
            let outcome = there(&pace, &mut instance, program).await;
            let tenant = stores.tenant();
            let has_room = match lacking(&outcome, &instance) {
                Some(LimitExceeded::Pool(_) | LimitExceeded::NodeMemory { .. }) => {
                    inner.make_room(tenant)
                }
                Some(LimitExceeded::SharedMemory { .. }) => inner.make_own_room(tenant),
                _ => false,
            };
            if !has_room {
                break (instance, outcome);
            }
        };
        // After the store, so that it speaks before the store is dropped by a panic.
        let guard = guard;
        if let Ok(Ok(())) = outcome {
            outcome = within(&pace, &mut instance, async |instance| {
                instance.call(work, reply).await
            })
            .await;
        }
        guard.disarm();
        spent.end();
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                let limit = instance.store.data().limits.cause(&error);
                Some(ServeError::of(&error, limit))
            }
            Err(late) => Some(late),
        };
        if let Some(failure) = failure {
            verdict.fail(failure.clone());
            write_down(stores.log(), request_id, &failure);
            instance.end();
            return;
        }
        instance.store.data_mut().end();
        let settings = stores.settings();
        if instance.is_reusable(settings.reuse_requests, stores.component().reuse) {
            idle.put(instance, settings.reuse_instances);
        } else {
            instance.end();
        }
    }
}

/// An instance yet to be made, in a store of its own. Where its tenant has as many as it may, those of
/// them that wait give way; where the node has, anybody's.
fn fresh(inner: &Inner, stores: &Stores) -> Result<Instance, ServeError> {
    let tenant = stores.tenant();
    loop {
        let limit = match stores.store() {
            Ok(store) => return Ok(Instance::unborn(store)),
            Err(limit) => limit,
        };
        let has_room = match limit {
            LimitExceeded::Pool(_) => inner.make_room(tenant),
            _ => inner.make_own_room(tenant),
        };
        if !has_room {
            return Err(limit.into());
        }
    }
}

/// Outer error: the call's time is over.
type Outcome = Result<wasmtime::Result<()>, ServeError>;

/// Makes an instance that is not there yet. One that is costs no look at the clocks.
async fn there(pace: &Pace, instance: &mut Instance, program: &Program) -> Outcome {
    match instance.is_there() {
        true => Ok(Ok(())),
        false => {
            let make = async |instance: &mut Instance| instance.instantiate(program).await;
            within(pace, instance, make).await
        }
    }
}

/// Runs what drives an instance for as long as the call may go on, and has its CPU time measured.
async fn within(
    pace: &Pace,
    instance: &mut Instance,
    work: impl AsyncFnOnce(&mut Instance) -> wasmtime::Result<()>,
) -> Outcome {
    let cpu = instance.store.data().cpu.clone();
    // Some KiB, which would be copied wherever it is handed over.
    let work = pin!(work(instance));
    tokio::select! {
        biased;
        outcome = cpu.meter(work) => Ok(outcome),
        late = pace.over() => Err(late),
    }
}

/// The limit by which an instance could not be made.
fn lacking(outcome: &Outcome, instance: &Instance) -> Option<LimitExceeded> {
    let Ok(Err(error)) = outcome else { return None };
    instance.store.data().limits.cause(error)
}

/// Says why a guest failed in the log of its installation, where that is the guest's affair.
fn write_down(log: &Log, request: RequestId, failure: &ServeError) {
    if matches!(failure, ServeError::Unavailable) {
        return;
    }
    let text = failure.to_string();
    log.append(Entry::new(Level::Error, Source::Platform, &text).request(request));
    if let ServeError::Trap { backtrace, .. } | ServeError::Stack { backtrace } = failure {
        let entry = Entry::new(Level::Error, Source::Platform, backtrace).request(request);
        log.append_lines(entry, BACKTRACE_LINES);
    }
}

/// Tells the response's body when the task ends by a panic of the host.
struct PanicGuard(Option<Verdict>);

impl PanicGuard {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if let Some(verdict) = self.0.take() {
            verdict.fail(ServeError::Internal("a guest's task ended early".into()));
        }
    }
}
