//! The actor of one store of a driver instance: takes calls one after the other, and replaces the
//! store.
//!
//! A call whose streams are open after it has returned is not over. The store goes on running for
//! them, and further calls begin in it only if they are for the same caller: who asks for the
//! identity of the caller gets one answer as long as any of them lasts.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::time::{Sleep, sleep, sleep_until, timeout};

use crate::board::{Board, Next};
use crate::context::CallContext;
use crate::error::{Cause, FailureCause};
use crate::handle::{Answer, Call, DriverHandle, Giving, Info, Message, Place, Target};
use crate::host::{DriverHost, DriverProgram, Room, metered};
use crate::live::{Live, Unpacked};
use crate::rest::Resting;
use crate::session::Session;
use crate::values::{Handle, Parcel};

type CallerOf<P> = <<P as DriverProgram>::Data as DriverHost>::Caller;
type Reply<C> = oneshot::Sender<Result<Answer<C>, FailureCause>>;

/// Serves what is on the board for one store until every handle is gone.
pub(crate) async fn run<P: DriverProgram>(
    program: Arc<P>,
    info: Arc<Info>,
    board: Arc<Board<CallerOf<P>>>,
    resting: Arc<Resting<P::Data>>,
    store: usize,
) {
    let mut actor = Actor {
        program,
        info,
        resting,
        changed: board.word(store),
        board,
        store,
        live: None,
        idle: None,
        streaming: Vec::new(),
    };
    while let Some(message) = actor.next().await {
        match message {
            Message::Call(call) => actor.answer(call).await,
            Message::Drop(place) => actor.drop_resource(place).await,
        }
    }
    actor.retire();
}

struct Actor<P: DriverProgram> {
    program: Arc<P>,
    info: Arc<Info>,
    board: Arc<Board<CallerOf<P>>>,
    /// Which of the driver's stores it is.
    store: usize,
    live: Option<Live<P::Data>>,
    /// Where `live` is while it waits.
    resting: Arc<Resting<P::Data>>,
    /// Wakes the actor where it has had nothing to do for long. Kept from call to call, as setting a
    /// timer costs more than what is left of a call's accounting.
    idle: Option<Pin<Box<Sleep>>>,
    /// Calls that have returned and whose streams are open.
    streaming: Vec<Streaming<CallerOf<P>>>,
    /// Something is on the board, or a stream has changed.
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

impl<P: DriverProgram> Actor<P> {
    /// The next message whose turn it is; meanwhile the store runs for its open streams.
    async fn next(&mut self) -> Option<Message<CallerOf<P>>> {
        loop {
            self.look_after_streams();
            let streams = !self.streaming.is_empty();
            let next = self
                .board
                .take(self.store, streams, |caller| self.may_begin(caller));
            match next {
                Next::Message(message) => return Some(message),
                Next::Over => return None,
                Next::Wait if streams => self.stream().await,
                Next::Wait => self.wait().await,
            }
        }
    }

    /// Waits for word. A store that nobody needs for long is dropped, one that somebody needs room for
    /// before, and one of a driver that was replaced at once.
    async fn wait(&mut self) {
        if let Some(live) = self.live.take_if(|live| live.given() == 0) {
            let is_replaced = self.board.is_replaced();
            self.resting.put(self.store, live);
            let has_word = !is_replaced && self.has_word().await;
            self.live = self.resting.take(self.store);
            if has_word {
                return;
            }
            self.retire();
        }
        self.changed.notified().await;
    }

    /// Whether there is word before the store has been idle for long.
    async fn has_word(&mut self) -> bool {
        let until = Instant::now() + self.info.settings.idle_timeout;
        let idle = &mut self.idle;
        let idle = idle.get_or_insert_with(|| Box::pin(sleep_until(until.into())));
        loop {
            tokio::select! {
                biased;
                () = self.changed.notified() => return true,
                () = &mut *idle => {}
            }
            if Instant::now() >= until {
                return false;
            }
            // It was set when an earlier call was over.
            idle.as_mut().reset(until.into());
        }
    }

    fn retire(&mut self) {
        if self.live.take().is_some() {
            self.info.supervision.gone(false);
        }
    }

    /// Lets the driver run until there is something to do.
    async fn stream(&mut self) {
        let Some(live) = &mut self.live else {
            self.streaming.clear();
            return;
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
                () = changed.notified() => {}
                () = sleep_until(due.into()) => {}
            }
        };
        let outcome = tokio::select! {
            biased;
            outcome = AssertUnwindSafe(live.run(event)).catch_unwind() => match outcome {
                Ok(ended) => ended.map_err(trap),
                Err(_) => Err(panicked()),
            },
            // The guest computes and lets nothing else have its turn.
            () = sleep_until((due + grace).into()) => Err(FailureCause::Deadline),
        };
        if let Err(cause) = outcome {
            self.break_streams(cause);
        }
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
        let broken = self.streaming.first();
        let (target, caller) = match broken {
            Some(call) => (Some(call.target.clone()), Some(call.context.caller.clone())),
            None => (None, None),
        };
        let place = match &target {
            Some(target) => (target.interface.clone(), target.function.clone()),
            None => ("its own".into(), "[streams]".into()),
        };
        self.replace(place, cause, caller.as_ref());
    }

    /// Whether it is the caller whose streams are open, if any are.
    fn may_begin(&self, caller: &CallerOf<P>) -> bool {
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
            held,
            mut reply,
            driver,
            permit,
            home,
        } = call;
        let session = target
            .has_streams
            .then(|| Session::new(self.info.clone(), target.clone(), self.changed.clone()));
        let outcome = match self.info.supervision.admit() {
            Ok(()) => {
                let giving = Giving {
                    driver: &driver,
                    context: &context,
                    store: self.store,
                    home,
                };
                let session = session.as_ref();
                self.perform(&target, arguments, giving, &mut reply, session)
                    .await
            }
            Err(cause) => Err(Failure::Kept(cause)),
        };
        let outcome = outcome.map_err(|failure| match failure {
            Failure::Kept(cause) => cause,
            Failure::Refused(cause) => {
                self.info.supervision.ended();
                cause
            }
            Failure::Broken(cause) => {
                if let Some(session) = &session {
                    session.fail(cause.clone());
                }
                let place = (target.interface.clone(), target.function.clone());
                self.replace(place, cause.clone(), Some(&context.caller));
                cause
            }
        });
        if outcome.is_ok() {
            self.info.supervision.answered();
        }
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
        self.board.rest(self.store, !self.streaming.is_empty());
        let limit = self.info.settings.held;
        let answer = outcome.and_then(|performed| {
            if performed.is_too_much {
                return Err(FailureCause::HeldFull { limit });
            }
            if let Some(held) = &held {
                held.exchange(performed.parcel.values.bytes())?;
            }
            Ok((performed.parcel, held))
        });
        // Where nobody takes the parcel, dropping it drops the resources that it gives out, and
        // the streams.
        drop(reply.send(answer));
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
        giving: Giving<'_, CallerOf<P>>,
        reply: &mut Reply<CallerOf<P>>,
        session: Option<&Arc<Session>>,
    ) -> Result<Performed<CallerOf<P>>, Failure> {
        let context = giving.context;
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
            none => {
                let started = start(&*self.program, &self.info, &context.caller).await;
                none.insert(started.map_err(Failure::Refused)?)
            }
        };
        let held = self.info.settings.held;
        let admitted = live.admit(target, &arguments, &giving, held);
        admitted.map_err(Failure::Refused)?;
        let before = live.before(target, &arguments, &giving);
        let unpacked = live.unpack(arguments, giving.driver, session);
        let Unpacked { values, loans } = unpacked.map_err(|cause| match cause {
            FailureCause::ResourceLost | FailureCause::NotTaken(_) => Failure::Refused(cause),
            _ => Failure::Broken(cause),
        })?;
        let work = live.call(target, values, context.clone());
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
        let parcel =
            results.and_then(|results| live.pack(results, target, &giving, session).map_err(trap));
        let parcel = parcel.map_err(Failure::Broken)?;
        if session.is_some_and(|session| open + session.open() > limit) {
            let text = format!("it has more than {limit} streams and futures open");
            return Err(Failure::Broken(trap(wasmtime::Error::msg(text))));
        }
        let is_too_much = before.is_some_and(|before| live.after(&before, held));
        Ok(Performed {
            parcel,
            is_too_much,
        })
    }

    async fn drop_resource(&mut self, place: Place<CallerOf<P>>) {
        let Some(live) = &mut self.live else { return };
        let limit = self.info.settings.destructor_timeout;
        let caller = place.context.caller.clone();
        let context = place.context.until(Instant::now() + limit);
        let work = live.drop_resource(Place { context, ..place });
        let cause = match timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(Ok(()))) => return self.end_call(),
            Ok(Ok(Err(error))) => trap(error),
            Ok(Err(_)) => panicked(),
            Err(_) => FailureCause::Deadline,
        };
        let place = ("its own".into(), "[resource-drop]".into());
        self.replace(place, cause, Some(&caller));
    }

    /// Drops the store after a failure; the next call starts a fresh one.
    fn replace(
        &mut self,
        (interface, function): (Arc<str>, Arc<str>),
        cause: FailureCause,
        caller: Option<&CallerOf<P>>,
    ) {
        // Those who read learn why before they notice that nothing comes any more.
        for call in self.streaming.drain(..) {
            call.session.fail(cause.clone());
        }
        let supervision = &self.info.supervision;
        match &cause {
            FailureCause::Trap(cause) => supervision.failed(cause, false),
            _ => supervision.ended(),
        }
        let mut lost = 0;
        if let Some(live) = self.live.take() {
            supervision.gone(true);
            lost = live.given();
        }
        let failure = self.info.failure(interface, function, cause);
        self.program.failed(&failure, lost, caller);
    }
}

/// A call that has returned.
struct Performed<C> {
    parcel: Parcel<C>,
    /// Its caller would hold more than it may.
    is_too_much: bool,
}

/// A call without an answer, and what it means for the store.
enum Failure {
    /// Nothing was tried.
    Kept(FailureCause),
    /// The store is as it was.
    Refused(FailureCause),
    /// The store cannot be used any more.
    Broken(FailureCause),
}

/// Makes a store and instantiates the driver in it, unless it is too early for that.
async fn start<P: DriverProgram>(
    program: &P,
    info: &Info,
    caller: &CallerOf<P>,
) -> Result<Live<P::Data>, FailureCause> {
    let limit = info.settings.start_timeout;
    info.supervision.begin_start()?;
    let attempt = async {
        loop {
            let error = match make(program, info).await {
                Ok(live) => return Ok(live),
                Err(error) => error,
            };
            match program.make_room(&error) {
                Room::Made => {}
                Room::Lacking => return Err(FailureCause::NoRoom(Cause::new(error))),
                Room::NotAsked => return Err(FailureCause::Start(Cause::new(error))),
            }
        }
    };
    let failed = |message: String| FailureCause::Start(Cause::new(wasmtime::Error::msg(message)));
    let cause = match timeout(limit, AssertUnwindSafe(attempt).catch_unwind()).await {
        Ok(Ok(Ok(live))) => {
            info.supervision.end_start(true);
            return Ok(live);
        }
        Ok(Ok(Err(cause))) => cause,
        Ok(Err(_)) => failed(PANICKED.to_owned()),
        Err(_) => failed(format!("not ready within {limit:?}")),
    };
    info.supervision.end_start(false);
    // Where there is no room, that says nothing of the driver.
    if let FailureCause::Start(last) = &cause {
        info.supervision.failed(last, true);
    }
    let failure = info.failure("its own".into(), "[start]".into(), cause.clone());
    program.failed(&failure, 0, Some(caller));
    Err(cause)
}

/// Makes a store and instantiates the driver in it.
async fn make<P: DriverProgram>(program: &P, info: &Info) -> wasmtime::Result<Live<P::Data>> {
    let mut store = program.new_store()?;
    let cpu = store.data().cpu().cloned();
    let start = program.instance_pre().instantiate_async(&mut store);
    let instance = metered(cpu, start).await?;
    Live::new(store, instance, &info.exports, info.incarnation())
}

const PANICKED: &str = "the host failed while the driver ran";

fn panicked() -> FailureCause {
    FailureCause::Trap(Cause::new(wasmtime::Error::msg(PANICKED)))
}

fn trap(error: wasmtime::Error) -> FailureCause {
    FailureCause::Trap(Cause::new(error))
}
