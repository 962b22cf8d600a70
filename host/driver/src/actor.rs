//! The actor of a driver instance: takes calls one after the other, and supervises the store.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{sleep, sleep_until, timeout};

use crate::context::CallContext;
use crate::error::{Cause, FailureCause};
use crate::handle::{Call, DriverHandle, Info, Message, Place, Target};
use crate::host::{DriverHost, DriverProgram, metered};
use crate::live::Live;
use crate::values::Parcel;

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
}

/// Set after a failed start, until one succeeds.
struct Backoff {
    pause: Duration,
    until: Instant,
    last: Cause,
}

impl<P: DriverProgram> Actor<P> {
    async fn next(
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
            _permit,
        } = call;
        let outcome = self
            .perform(&target, arguments, &context, &mut reply, &driver)
            .await;
        let outcome = outcome.map_err(|failure| match failure {
            Failure::Refused(cause) => cause,
            Failure::Broken(cause) => {
                self.replace(&target.interface, &target.function, cause.clone());
                cause
            }
        });
        // Where nobody takes the parcel, dropping it drops the resources that it gives out.
        drop(reply.send(outcome));
    }

    async fn perform(
        &mut self,
        target: &Target,
        arguments: Parcel<CallerOf<P>>,
        context: &CallContext<CallerOf<P>>,
        reply: &mut Reply<CallerOf<P>>,
        driver: &DriverHandle<CallerOf<P>>,
    ) -> Result<Parcel<CallerOf<P>>, Failure> {
        if Instant::now() >= context.deadline {
            return Err(Failure::Refused(FailureCause::Deadline));
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
        let arguments = live.unpack(arguments).map_err(Failure::Refused)?;
        let work = live.call(target, &arguments, context.clone());
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
        results
            .and_then(|results| {
                live.pack(results, target.results_carry, driver, context)
                    .map_err(trap)
            })
            .map_err(Failure::Broken)
    }

    async fn drop_resource(&mut self, place: Place<CallerOf<P>>) {
        let Some(live) = &mut self.live else { return };
        let limit = self.info.settings.destructor_timeout;
        let context = place.context.until(Instant::now() + limit);
        let work = live.drop_resource(Place { context, ..place });
        let cause = match timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => trap(error),
            Ok(Err(_)) => panicked(),
            Err(_) => FailureCause::Deadline,
        };
        self.replace(&"its own".into(), &"[resource-drop]".into(), cause);
    }

    /// Drops the store after a failure; the next call starts a fresh one.
    fn replace(&mut self, interface: &Arc<str>, function: &Arc<str>, cause: FailureCause) {
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
