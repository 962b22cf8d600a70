//! The actor of a driver instance: takes calls one after the other, and supervises the store.
//!
//! A call whose streams are open after it has returned is not over. The store goes on running for
//! them, and further calls begin in it only if they are for the same caller: who asks for the
//! identity of the caller gets one answer as long as any of them lasts.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::time::{sleep, sleep_until, timeout};

use crate::context::CallContext;
use crate::error::{Cause, FailureCause};
use crate::handle::{Call, DriverHandle, Info, Message, Place, Target};
use crate::host::{DriverHost, DriverProgram, metered};
use crate::live::{Live, Unpacked};
use crate::session::Session;
use crate::values::{Handle, Parcel};

type CallerOf<P> = <<P as DriverProgram>::Data as DriverHost>::Caller;
type Reply<C> = oneshot::Sender<Result<Parcel<C>, FailureCause>>;

/// Serves messages until every handle is gone.
pub(crate) async fn run<P: DriverProgram>(
    program: P,
    info: Arc<Info>,
    mut messages: UnboundedReceiver<Message<CallerOf<P>>>,
) {
    let mut actor = Actor {
        program,
        info,
        live: None,
        incarnation: 0,
        backoff: None,
        streaming: Vec::new(),
        waiting: VecDeque::new(),
        changed: Arc::new(Notify::new()),
    };
    while let Some(message) = actor.next(&mut messages).await {
        match message {
            Message::Call(call) => actor.answer(call).await,
            Message::Drop(place) => actor.drop_resource(place).await,
        }
    }
}

struct Actor<P: DriverProgram> {
    program: P,
    info: Arc<Info>,
    live: Option<Live<P::Data>>,
    incarnation: u64,
    backoff: Option<Backoff>,
    /// Calls that have returned and whose streams are open.
    streaming: Vec<Streaming<CallerOf<P>>>,
    /// What waits for the streams of another caller to end.
    waiting: VecDeque<Message<CallerOf<P>>>,
    /// A stream has changed.
    changed: Arc<Notify>,
}

/// A call that has returned and whose streams are open.
struct Streaming<C> {
    session: Arc<Session>,
    context: CallContext<C>,
    target: Arc<Target>,
    /// Set when the streams should end soon, and what it is for the store if they do not.
    ending: Option<(Instant, Option<FailureCause>)>,
    _permit: OwnedSemaphorePermit,
    /// Keeps the actor.
    _driver: DriverHandle<C>,
}

/// Set after a failed start, until one succeeds.
struct Backoff {
    pause: Duration,
    until: Instant,
    last: Cause,
}

/// What happens while streams are open.
enum Event<C> {
    Message(Option<Message<C>>),
    /// Something about the streams, or it is time to look.
    Streams,
}

impl<P: DriverProgram> Actor<P> {
    /// The next message whose turn it is; meanwhile the store runs for its open streams.
    async fn next(
        &mut self,
        messages: &mut UnboundedReceiver<Message<CallerOf<P>>>,
    ) -> Option<Message<CallerOf<P>>> {
        loop {
            self.look_after_streams();
            let turn = self
                .waiting
                .iter()
                .position(|message| self.may_begin(message));
            if let Some(message) = turn.and_then(|turn| self.waiting.remove(turn)) {
                return Some(message);
            }
            let received = match self.streaming.is_empty() {
                true => Event::Message(self.receive(messages).await),
                false => self.stream(messages).await,
            };
            match received {
                Event::Message(Some(message)) => self.waiting.push_back(message),
                // No handle is left, and so no stream and nothing that waits.
                Event::Message(None) => return None,
                Event::Streams => {}
            }
        }
    }

    async fn receive(
        &mut self,
        messages: &mut UnboundedReceiver<Message<CallerOf<P>>>,
    ) -> Option<Message<CallerOf<P>>> {
        if self.live.as_ref().is_some_and(|live| live.given() == 0) {
            match timeout(self.info.settings.idle_timeout, messages.recv()).await {
                Ok(message) => return message,
                Err(_) => self.live = None,
            }
        }
        messages.recv().await
    }

    /// Lets the driver run until there is something to do.
    async fn stream(
        &mut self,
        messages: &mut UnboundedReceiver<Message<CallerOf<P>>>,
    ) -> Event<CallerOf<P>> {
        let Some(live) = &mut self.live else {
            self.streaming.clear();
            return Event::Streams;
        };
        let grace = self.info.settings.abandoned_grace;
        let due = self.streaming.iter().map(|call| match call.ending {
            Some((since, _)) => since + grace,
            None => call.context.deadline,
        });
        let due = due.min().unwrap_or_else(Instant::now);
        let changed = &self.changed;
        let event = async {
            tokio::select! {
                biased;
                () = changed.notified() => Event::Streams,
                message = messages.recv() => Event::Message(message),
                () = sleep_until(due.into()) => Event::Streams,
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = AssertUnwindSafe(live.run(event)).catch_unwind() => match outcome {
                Ok(event) => event.map_err(trap),
                Err(_) => Err(panicked()),
            },
            // The guest computes and lets nothing else have its turn.
            () = sleep_until((due + grace).into()) => Err(FailureCause::Deadline),
        };
        outcome.unwrap_or_else(|cause| {
            self.break_streams(cause);
            Event::Streams
        })
    }

    /// Lets go of calls whose streams have ended, and ends those that should have.
    fn look_after_streams(&mut self) {
        if self.streaming.is_empty() {
            return;
        }
        let now = Instant::now();
        let grace = self.info.settings.abandoned_grace;
        let mut overdue = None;
        self.streaming.retain_mut(|call| {
            if call.ending.is_none() && call.session.is_abandoned() {
                call.ending = Some((now, Some(FailureCause::Abandoned)));
            }
            if call.ending.is_none() && now >= call.context.deadline {
                call.session.cut(FailureCause::Deadline);
                call.ending = Some((now, Some(FailureCause::Deadline)));
            }
            if call.ending.is_none() && call.session.is_unread() {
                call.ending = Some((now, None));
            }
            match &call.ending {
                Some((since, Some(cause))) if *since + grace <= now => {
                    overdue = Some(cause.clone());
                }
                // The driver keeps writers without readers and does not look after them.
                Some((since, None)) if *since + grace <= now => {
                    call.session.cut(FailureCause::Abandoned);
                }
                _ => {}
            }
            call.session.open() > 0
        });
        if self.streaming.is_empty() {
            if let Some(live) = &mut self.live {
                live.end();
            }
        } else if let Some(cause) = overdue {
            self.break_streams(cause);
        }
    }

    fn break_streams(&mut self, cause: FailureCause) {
        let (interface, function) = match self.streaming.first() {
            Some(call) => (call.target.interface.clone(), call.target.function.clone()),
            None => ("its own".into(), "[streams]".into()),
        };
        self.replace(&interface, &function, cause);
    }

    /// Whether it is for the caller whose streams are open, if any are.
    fn may_begin(&self, message: &Message<CallerOf<P>>) -> bool {
        let caller = match message {
            Message::Call(call) => &call.context.caller,
            Message::Drop(place) => &place.context.caller,
        };
        self.streaming
            .iter()
            .all(|open| <P::Data as DriverHost>::is_same_caller(&open.context.caller, caller))
    }

    async fn answer(&mut self, call: Call<CallerOf<P>>) {
        // A caller that is gone takes with it what it wanted to give.
        if call.reply.is_closed() {
            return;
        }
        let Call {
            target,
            arguments,
            context,
            mut reply,
            driver,
            permit,
        } = call;
        let session = target
            .has_streams
            .then(|| Session::new(self.info.clone(), target.clone(), self.changed.clone()));
        let outcome = self
            .perform(
                &target,
                arguments,
                &context,
                &mut reply,
                &driver,
                session.as_ref(),
            )
            .await;
        let outcome = outcome.map_err(|failure| match failure {
            Failure::Refused(cause) => cause,
            Failure::Broken(cause) => {
                if let Some(session) = &session {
                    session.fail(cause.clone());
                }
                self.replace(&target.interface, &target.function, cause.clone());
                cause
            }
        });
        match session {
            Some(session) if outcome.is_ok() && session.open() > 0 => {
                self.streaming.push(Streaming {
                    session,
                    context,
                    target,
                    ending: None,
                    _permit: permit,
                    _driver: driver,
                });
            }
            _ => self.end_call(),
        }
        // Where nobody takes the parcel, dropping it drops the resources that it gives out, and
        // the streams.
        drop(reply.send(outcome));
    }

    /// A call is over; tells the store unless streams of others are open.
    fn end_call(&mut self) {
        if self.streaming.is_empty()
            && let Some(live) = &mut self.live
        {
            live.end();
        }
    }

    async fn perform(
        &mut self,
        target: &Target,
        arguments: Parcel<CallerOf<P>>,
        context: &CallContext<CallerOf<P>>,
        reply: &mut Reply<CallerOf<P>>,
        driver: &DriverHandle<CallerOf<P>>,
        session: Option<&Arc<Session>>,
    ) -> Result<Parcel<CallerOf<P>>, Failure> {
        if Instant::now() >= context.deadline {
            return Err(Failure::Refused(FailureCause::Deadline));
        }
        let limit = self.info.settings.streams;
        let open: usize = self.streaming.iter().map(|call| call.session.open()).sum();
        if session.is_some() {
            let is_pipe = |handle: &&Handle<_>| matches!(handle, Handle::Pipe(_));
            let more = arguments.handles.iter().filter(is_pipe).count();
            if more > 0 && open + more > limit {
                return Err(Failure::Refused(FailureCause::StreamsFull { limit }));
            }
        }
        let live = match &mut self.live {
            Some(live) => live,
            none => none.insert(
                start(
                    &self.program,
                    &self.info,
                    &mut self.incarnation,
                    &mut self.backoff,
                )
                .await
                .map_err(Failure::Refused)?,
            ),
        };
        let unpacked = live.unpack(arguments, driver, session);
        let Unpacked { values, loans } = unpacked.map_err(|cause| match cause {
            FailureCause::ResourceLost | FailureCause::NotTaken(_) => Failure::Refused(cause),
            _ => Failure::Broken(cause),
        })?;
        let work = live.call(target, &values, context.clone());
        let grace = self.info.settings.abandoned_grace;
        let results = tokio::select! {
            biased;
            outcome = AssertUnwindSafe(work).catch_unwind() => match outcome {
                Ok(results) => results.map_err(trap),
                Err(_) => Err(panicked()),
            },
            () = sleep_until(context.deadline.into()) => Err(FailureCause::Deadline),
            () = async { reply.closed().await; sleep(grace).await } => Err(FailureCause::Abandoned),
        };
        let given_back = live.give_back(&loans).map_err(trap);
        let results = results.and_then(|results| given_back.map(|()| results));
        let parcel = results.and_then(|results| {
            live.pack(results, target, driver, context, session)
                .map_err(trap)
        });
        let parcel = parcel.map_err(Failure::Broken)?;
        if session.is_some_and(|session| open + session.open() > limit) {
            let text = format!("it has more than {limit} streams and futures open");
            return Err(Failure::Broken(trap(wasmtime::Error::msg(text))));
        }
        Ok(parcel)
    }

    async fn drop_resource(&mut self, place: Place<CallerOf<P>>) {
        let Some(live) = &mut self.live else { return };
        let limit = self.info.settings.destructor_timeout;
        let context = place.context.until(Instant::now() + limit);
        let work = live.drop_resource(Place { context, ..place });
        let cause = match timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(Ok(()))) => return self.end_call(),
            Ok(Ok(Err(error))) => trap(error),
            Ok(Err(_)) => panicked(),
            Err(_) => FailureCause::Deadline,
        };
        self.replace(&"its own".into(), &"[resource-drop]".into(), cause);
    }

    /// Drops the store after a failure; the next call starts a fresh one.
    fn replace(&mut self, interface: &Arc<str>, function: &Arc<str>, cause: FailureCause) {
        // Those who read learn why before they notice that nothing comes any more.
        for call in self.streaming.drain(..) {
            call.session.fail(cause.clone());
        }
        let lost = self.live.take().map_or(0, |live| live.given());
        let failure = self
            .info
            .failure(interface.clone(), function.clone(), cause);
        self.program.failed(&failure, lost);
    }
}

/// A call without an answer, and what it means for the store.
enum Failure {
    /// The store is as it was.
    Refused(FailureCause),
    /// The store cannot be used any more.
    Broken(FailureCause),
}

/// Makes a store and instantiates the driver in it, unless that failed a moment ago.
async fn start<P: DriverProgram>(
    program: &P,
    info: &Info,
    incarnation: &mut u64,
    backoff: &mut Option<Backoff>,
) -> Result<Live<P::Data>, FailureCause> {
    let settings = &info.settings;
    if let Some(Backoff { until, last, .. }) = backoff {
        let retry_after = until.saturating_duration_since(Instant::now());
        if !retry_after.is_zero() {
            return Err(FailureCause::Restarting {
                retry_after,
                last: last.clone(),
            });
        }
    }
    *incarnation += 1;
    let attempt = async {
        let mut store = program.new_store()?;
        let cpu = store.data().cpu().cloned();
        let start = program.instance_pre().instantiate_async(&mut store);
        let instance = metered(cpu, start).await?;
        Live::new(store, instance, &info.exports, *incarnation)
    };
    let outcome = timeout(
        settings.start_timeout,
        AssertUnwindSafe(attempt).catch_unwind(),
    )
    .await;
    let error = match outcome {
        Ok(Ok(Ok(live))) => {
            *backoff = None;
            return Ok(live);
        }
        Ok(Ok(Err(error))) => error,
        Ok(Err(_)) => wasmtime::Error::msg(PANICKED),
        Err(_) => wasmtime::Error::msg(format!("not ready within {:?}", settings.start_timeout)),
    };
    let last = Cause::new(error);
    let pause = match backoff {
        Some(backoff) => (backoff.pause * 2).min(settings.backoff_max),
        None => settings.backoff_initial,
    };
    *backoff = Some(Backoff {
        pause,
        until: Instant::now() + pause,
        last: last.clone(),
    });
    let cause = FailureCause::Start(last);
    program.failed(
        &info.failure("its own".into(), "[start]".into(), cause.clone()),
        0,
    );
    Err(cause)
}

const PANICKED: &str = "the host failed while the driver ran";

fn panicked() -> FailureCause {
    FailureCause::Trap(Cause::new(wasmtime::Error::msg(PANICKED)))
}

fn trap(error: wasmtime::Error) -> FailureCause {
    FailureCause::Trap(Cause::new(error))
}
