//! Asking a driver whether it can do its work: `canopy:driver/lifecycle`.

use std::sync::Arc;
use std::time::Instant;

use canopy_driver::CallContext;
use canopy_ids::RequestId;
use wasmtime::component::Val;

use crate::error::PrepareError;
use crate::guest::CallerFacts;
use crate::runtime::Runtime;
use crate::spec::DriverSpec;
use crate::stores::StorageCtx;

/// The interface, and its function.
const LIFECYCLE: &str = "canopy:driver/lifecycle@0.1.0";
const CHECK: &str = "check";

/// What a driver says of its configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Works,
    /// It does not, in the driver's words.
    Refused(String),
    /// The driver broke down when it was asked.
    Failed(String),
    /// The driver cannot be asked: it exports no such function.
    Unknown,
}

impl Runtime {
    /// Has the driver of `spec` find out whether its configuration works, in a store of its own,
    /// with driver instances of its own for all that it builds on.
    pub async fn ask_driver(
        &self,
        spec: &DriverSpec,
        request_id: RequestId,
    ) -> Result<Verdict, PrepareError> {
        let inner = self.inner();
        let handle = inner.lone_driver(spec).await?;
        let caller = Arc::new(CallerFacts {
            request_id,
            depth: 0,
            facts: None,
            storage: StorageCtx::none(),
        });
        let deadline = Instant::now() + inner.parts.settings.drivers.check_timeout;
        let context = CallContext::new(caller, deadline);
        Ok(match handle.call_export(LIFECYCLE, CHECK, context).await {
            None => Verdict::Unknown,
            Some(Err(failure)) => Verdict::Failed(failure.cause.to_string()),
            Some(Ok(results)) => match results.first() {
                Some(Val::Result(Ok(_))) => Verdict::Works,
                Some(Val::Result(Err(Some(text)))) => match &**text {
                    Val::String(text) => Verdict::Refused(text.clone()),
                    _ => unfit(),
                },
                _ => unfit(),
            },
        })
    }
}

fn unfit() -> Verdict {
    Verdict::Failed(format!("its `{CHECK}` is not that of `{LIFECYCLE}`"))
}
