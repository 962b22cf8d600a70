//! Telling drivers who is bound to them: `canopy:driver/bindings`.
//!
//! A driver is told before a binding is made, and can refuse it. Of its end it is told afterwards, by
//! a task of its own: whoever unbinds or deletes waits for no driver. What has been told is written
//! down first, so a process that ends anywhere in between leaves something that the next one finds:
//! at least once, and for a binding that did not come about after all, too.

use std::sync::Weak;
use std::time::Duration;

use canopy_backend_logs::{Entry, Level, LogContext, Source};
use canopy_ids::{DriverInstanceId, InstallationId, InterfaceName, Label, RequestId};
use canopy_runtime::{BINDINGS, BindingChange, Bound, Verdict};
use canopy_store::{InstallationRow, InstallationWrite, StoreError, TenantRow, Told};
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use crate::app::Inner;
use crate::catalog::Release;
use crate::chain::{Fleet, Secrets};
use crate::{App, AppError, Context};

/// How long it sleeps at most: the clock of the machine may be set meanwhile.
const LOOK: Duration = Duration::from_secs(30);
/// How long after a failure of the database it looks again.
const RETRY: Duration = Duration::from_secs(5);
/// How long after it was told a binding has to be there.
const SETTLED: Duration = Duration::from_secs(300);

/// How drivers are told that a binding has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnbindSettings {
    /// How often one is told that does not take it. Default 8.
    pub attempts: u32,
    /// After what time it is told again; twice as long each further time. Default 10 s.
    pub retry_after: Duration,
}

impl Default for UnbindSettings {
    fn default() -> Self {
        Self {
            attempts: 8,
            retry_after: Duration::from_secs(10),
        }
    }
}

impl UnbindSettings {
    /// After what time a driver is told again that has been told `attempts` times; `None`: not.
    fn retry(&self, attempts: u64) -> Option<Duration> {
        if attempts >= self.attempts.into() {
            return None;
        }
        let doubled = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2_u32.saturating_pow(doubled);
        Some(self.retry_after.saturating_mul(factor))
    }
}

/// The task, once it runs.
#[derive(Default)]
pub(crate) struct Telling(Mutex<Option<JoinHandle<()>>>);

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(task) = self.0.get_mut() {
            task.abort();
        }
    }
}

/// An installation that is about to be written.
pub(crate) struct Binding<'a> {
    pub(crate) tenant: &'a TenantRow,
    pub(crate) id: InstallationId,
    pub(crate) name: &'a Label,
    pub(crate) old: Option<&'a InstallationRow>,
    pub(crate) write: &'a InstallationWrite,
}

impl App {
    /// Tells drivers that an installation is about to be bound to them. A refusal refuses the change,
    /// unless the request asks for no check.
    pub(crate) async fn tell_bound(
        &self,
        context: &Context,
        binding: &Binding<'_>,
    ) -> Result<(), AppError> {
        let Binding {
            tenant, id, name, ..
        } = *binding;
        let bound = binding.write.bindings.iter();
        let new = bound.filter_map(|(key, driver)| Some((key, (*driver)?)));
        let new: Vec<_> = new
            .filter(|(key, driver)| {
                let before = binding.old.and_then(|old| old.bindings.get(key));
                before.is_none_or(|before| before.as_ref().map(|one| one.id) != Some(*driver))
            })
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let fleet = self.fleet(tenant).await?;
        let mut told = Vec::new();
        for (key, driver) in new {
            if is_told(fleet.release(driver)?) {
                told.push(Told {
                    driver,
                    installation: id,
                    name: name.clone(),
                    app: binding.write.package.clone(),
                    key: key.clone(),
                    attempts: 0,
                });
            }
        }
        if told.is_empty() {
            return Ok(());
        }
        let until = OffsetDateTime::now_utc() + SETTLED;
        self.store.put_told(told.clone(), until).await?;
        for (at, one) in told.iter().enumerate() {
            let change = BindingChange::Bind;
            let said = self
                .tell_driver(tenant, &fleet, one, change, context.request_id)
                .await;
            let message = match said {
                Ok(None) => continue,
                Ok(Some(message)) => message,
                Err(error) => error.to_string(),
            };
            let driver = fleet.name(one.driver)?.clone();
            if !context.check {
                self.note(
                    tenant,
                    &fleet,
                    one,
                    &format!("bound all the same: {message}"),
                )?;
                continue;
            }
            self.store.forget_told(one).await?;
            let (before, after) = (&told[..at], &told[at + 1..]);
            for one in after {
                self.store.forget_told(one).await?;
            }
            let now = OffsetDateTime::now_utc();
            self.store.put_told(before.to_vec(), now).await?;
            return Err(AppError::CheckFailed { driver, message });
        }
        Ok(())
    }

    /// Tells a driver instance of a binding. What it has against that, if anything.
    async fn tell_driver(
        &self,
        tenant: &TenantRow,
        fleet: &Fleet,
        told: &Told,
        change: BindingChange,
        request: RequestId,
    ) -> Result<Option<String>, AppError> {
        let spec = self
            .live_driver(tenant, (fleet, told.driver), Secrets::new())
            .await?;
        let bound = Bound {
            installation: told.installation,
            name: told.name.clone(),
            app: told.app.clone(),
            key: told.key.clone(),
        };
        let said = self
            .runtime
            .tell_driver(&spec, change, &bound, request)
            .await;
        Ok(match said.map_err(crate::linking::cannot_link)? {
            Verdict::Works | Verdict::Unknown => None,
            Verdict::Refused(message) => Some(message),
            Verdict::Failed(message) => Some(format!("told of it, it broke down: {message}")),
        })
    }

    /// Writes into a driver instance's log what became of telling it.
    fn note(
        &self,
        tenant: &TenantRow,
        fleet: &Fleet,
        told: &Told,
        message: &str,
    ) -> Result<(), AppError> {
        let release = fleet.release(told.driver)?;
        let log = LogContext {
            tenant: tenant.name.clone(),
            app: None,
            driver: Some(fleet.name(told.driver)?.clone()),
            package: release.package.clone(),
            version: release.version.clone(),
        };
        let message = format!("{} of installation `{}`: {message}", told.key, told.name);
        let entry = Entry::new(Level::Warn, Source::Platform, &message);
        self.logs.log(told.driver, log).append(entry);
        Ok(())
    }

    /// Starts telling drivers that bindings have ended.
    pub(crate) fn start_telling(&self) {
        let task = tokio::spawn(run(self.downgrade()));
        *self.telling.0.lock() = Some(task);
    }

    /// Tells drivers of all that has ended. Returns when to look again.
    async fn tell_ended(&self) -> Result<Duration, AppError> {
        for (tenant, told) in self.store.told_and_ended(OffsetDateTime::now_utc()).await? {
            if let Some(tenant) = self.store.tenant_by_id(tenant).await? {
                // Whoever binds it again meanwhile comes before or after.
                let _linking = self.turns.of(&tenant.name).await;
                self.tell_end(&tenant, told).await?;
            }
        }
        let Some(next) = self.store.next_told().await? else {
            return Ok(LOOK);
        };
        let wait = Duration::try_from(next - OffsetDateTime::now_utc());
        Ok(wait.unwrap_or_default().min(LOOK))
    }

    /// Tells a driver instance that is about to be deleted of what has ended and it has not taken yet,
    /// once: whatever it says, it goes.
    pub(crate) async fn tell_last(
        &self,
        tenant: &TenantRow,
        driver: DriverInstanceId,
    ) -> Result<(), AppError> {
        for told in self.store.told_to(driver).await? {
            self.tell_end(tenant, told).await?;
        }
        Ok(())
    }

    /// Tells a driver instance of an end, in a turn of the tenant.
    async fn tell_end(&self, tenant: &TenantRow, mut told: Told) -> Result<(), AppError> {
        if !self.store.has_ended(&told).await? {
            return Ok(());
        }
        let fleet = self.fleet(tenant).await?;
        let change = BindingChange::Unbind;
        let said = self
            .tell_driver(tenant, &fleet, &told, change, RequestId::new())
            .await;
        let message = match said {
            Ok(None) => return Ok(self.store.forget_told(&told).await?),
            Ok(Some(message)) => message,
            Err(AppError::Store(error)) => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        told.attempts += 1;
        match self.settings.unbind.retry(told.attempts) {
            Some(pause) => {
                self.note(
                    tenant,
                    &fleet,
                    &told,
                    &format!("is unbound, which it does not take: {message}"),
                )?;
                let at = OffsetDateTime::now_utc() + pause;
                self.store.put_told(vec![told], at).await?;
            }
            None => {
                self.note(
                    tenant,
                    &fleet,
                    &told,
                    &format!("is unbound, of which it is told no more: {message}"),
                )?;
                self.store.forget_told(&told).await?;
            }
        }
        Ok(())
    }
}

/// Whether a version of a driver wants to be told.
fn is_told(release: &Release) -> bool {
    let wanted = BINDINGS.parse::<InterfaceName>();
    wanted.is_ok_and(|wanted| release.exports.iter().any(|export| wanted.accepts(export)))
}

/// Tells until the control plane is gone.
async fn run(app: Weak<Inner>) {
    let Some(mut commits) = App::upgrade(&app).map(|app| app.store.commits()) else {
        return;
    };
    loop {
        let Some(strong) = App::upgrade(&app) else {
            return;
        };
        commits.mark_unchanged();
        let wait = match strong.tell_ended().await {
            Ok(wait) => wait,
            Err(AppError::Store(StoreError::Closed)) => return,
            Err(error) => {
                tracing::error!(%error, "drivers could not be told of bindings that have ended");
                RETRY
            }
        };
        drop(strong);
        tokio::select! {
            changed = commits.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_told_again_ever_later_and_at_last_no_more() {
        let settings = UnbindSettings {
            attempts: 3,
            retry_after: Duration::from_secs(10),
        };
        let pauses: Vec<_> = (1..=4).map(|attempts| settings.retry(attempts)).collect();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(pauses, [seconds(10), seconds(20), None, None]);
    }
}
