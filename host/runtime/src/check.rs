//! Asking a driver whether it can do its work, and telling it who is bound to it: `canopy:driver`.

use std::sync::Arc;
use std::time::Instant;

use canopy_driver::CallContext;
use canopy_ids::{BindingKey, InstallationId, Label, PackageName, RequestId};
use wasmtime::component::Val;

use crate::error::PrepareError;
use crate::guest::CallerFacts;
use crate::runtime::Runtime;
use crate::spec::DriverSpec;
use crate::stores::StorageCtx;

/// The interface by which a driver is asked, newest first, and its function.
const LIFECYCLE: [&str; 2] = [
    "canopy:driver/lifecycle@0.2.0",
    "canopy:driver/lifecycle@0.1.0",
];
const CHECK: &str = "check";

/// The interface by which a driver is told who is bound to it.
pub const BINDINGS: &str = "canopy:driver/bindings@0.2.0";

/// What a driver says of its configuration, or of a binding.
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

/// An installation that is bound to a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The installation.
    pub installation: InstallationId,
    /// Its name within the tenant.
    pub name: Label,
    /// The application.
    pub app: PackageName,
    /// What is bound.
    pub key: BindingKey,
}

/// What becomes of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingChange {
    /// It is about to be made.
    Bind,
    /// It is no more.
    Unbind,
}

impl Bound {
    /// As the driver's interface has it.
    fn value(&self) -> Val {
        let text = |text: String| Val::String(text);
        let key = BindingKey {
            label: None,
            ..self.key.clone()
        };
        let label = self.key.label.as_ref();
        let label = label.map(|label| Box::new(text(label.to_string())));
        Val::Record(vec![
            ("installation".into(), text(self.installation.to_string())),
            ("name".into(), text(self.name.to_string())),
            ("app".into(), text(self.app.to_string())),
            ("bound".into(), text(key.to_string())),
            ("label".into(), Val::Option(label)),
        ])
    }
}

impl Runtime {
    /// Has the driver of `spec` find out whether its configuration works, in a store of its own,
    /// with driver instances of its own for all that it builds on.
    pub async fn ask_driver(
        &self,
        spec: &DriverSpec,
        request_id: RequestId,
    ) -> Result<Verdict, PrepareError> {
        for interface in LIFECYCLE {
            let verdict = self
                .call_driver(spec, (interface, CHECK), Vec::new(), request_id)
                .await?;
            if verdict != Verdict::Unknown {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Unknown)
    }

    /// Tells the driver of `spec` of a binding, in a store of its own as well.
    pub async fn tell_driver(
        &self,
        spec: &DriverSpec,
        change: BindingChange,
        bound: &Bound,
        request_id: RequestId,
    ) -> Result<Verdict, PrepareError> {
        let function = match change {
            BindingChange::Bind => "on-bind",
            BindingChange::Unbind => "on-unbind",
        };
        self.call_driver(spec, (BINDINGS, function), vec![bound.value()], request_id)
            .await
    }

    async fn call_driver(
        &self,
        spec: &DriverSpec,
        (interface, function): (&str, &str),
        arguments: Vec<Val>,
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
        let unfit = || Verdict::Failed(format!("its `{function}` is not that of `{interface}`"));
        let called = handle.call_export(interface, function, arguments, context);
        Ok(match called.await {
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
