//! What the cases work with: a driver set up for two scratch tenants, and applications that use it.

use std::sync::Arc;
use std::time::Duration;

use canopy_api_types::{
    Driver, DriverPut, Installation, InstallationPut, LogLevel, LogPage, LogSource, Tenant,
    TenantPut, TokenCreate, TokenCreated,
};
use canopy_ids::{BindingKey, Label, PackageName};
use reqwest::header::{AUTHORIZATION, HOST};
use semver::Version;
use serde_json::{Value, json};
use url::Url;

use super::probe::{Answer, Stop, failed, skipped};
use super::proxy::{Proxy, Weather};
use crate::Error;
use crate::client::{Client, Condition};

/// How long an application's answer may take; calls themselves may take less.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a driver may need to find its server again.
const RECOVERY: Duration = Duration::from_secs(10);
/// How long a driver that broke down may be left alone before the next case.
const REST: Duration = Duration::from_secs(45);
/// The driver's name in each tenant.
const DRIVER: &str = "tested";
/// Records of a log that are read at once.
const LOG_PAGE: &str = "1000";

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// An application of the first tenant.
    First,
    /// Another installation of the same tenant.
    Sibling,
    /// The same application of the other tenant.
    Other,
}

impl At {
    pub(super) const ALL: [Self; 3] = [Self::First, Self::Sibling, Self::Other];

    fn tenant(self) -> usize {
        match self {
            Self::First | Self::Sibling => 0,
            Self::Other => 1,
        }
    }

    fn app(self) -> &'static str {
        match self {
            Self::First | Self::Other => "suite",
            Self::Sibling => "suite-sibling",
        }
    }
}

/// A tenant that exists for the test alone.
struct Scratch {
    name: Label,
    token: String,
    /// The last record of the driver's log that has been looked at.
    seen: u64,
}

/// What the cases work with.
pub(super) struct Bench {
    api: Arc<Client>,
    http: reqwest::Client,
    tenants: [Scratch; 2],
    driver: DriverPut,
    pub(super) proxy: Option<Proxy>,
    /// Bytes of memory that the driver may take.
    pub(super) memory: u64,
    /// Where mail of the cases may go.
    pub(super) mail_to: Option<String>,
    /// Where the applications of the present suite answer.
    urls: Vec<(At, Url)>,
    /// What they are asked for to see that the driver works.
    settling: Option<Value>,
}

impl Bench {
    /// Creates the tenants, and the driver for each.
    pub(super) async fn set_up(
        api: Arc<Client>,
        names: [Label; 2],
        driver: DriverPut,
        proxy: Option<Proxy>,
        memory: u64,
        mail_to: Option<String>,
    ) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::local("the HTTP client", error))?;
        let [first, other] = names;
        let tenants = [
            tenant(&api, first, &driver).await?,
            tenant(&api, other, &driver).await?,
        ];
        Ok(Self {
            api,
            http,
            tenants,
            driver,
            proxy,
            memory,
            mail_to,
            urls: Vec::new(),
            settling: None,
        })
    }

    /// Installs the component of a suite wherever it is needed, bound to the driver.
    pub(super) async fn install(
        &mut self,
        package: &PackageName,
        version: &Version,
        binding: BindingKey,
        settling: Option<Value>,
    ) -> Result<(), Error> {
        self.urls.clear();
        self.settling = settling;
        for at in At::ALL {
            let body = InstallationPut {
                version: Some(version.clone()),
                bindings: [(binding.clone(), label(DRIVER)?)].into(),
                ..InstallationPut::new(package.clone())
            };
            let tenant = self.tenants[at.tenant()].name.as_str();
            let path = ["tenants", tenant, "installations", at.app()];
            let installed: Installation = self.api.put(&path, &body, Condition::Absent).await?;
            let url = installed
                .url
                .parse()
                .map_err(|error| Error::local(&installed.url, error))?;
            self.urls.push((at, url));
        }
        Ok(())
    }

    /// Removes the applications of the present suite.
    pub(super) async fn uninstall(&mut self) -> Result<(), Error> {
        for (at, _) in std::mem::take(&mut self.urls) {
            let tenant = self.tenants[at.tenant()].name.as_str();
            let path = ["tenants", tenant, "installations", at.app()];
            self.api.delete(&path).await?;
        }
        Ok(())
    }

    /// Has the suite's component do something.
    pub(super) async fn ask(&self, at: At, what: &Value) -> Answer {
        let Some((_, url)) = self.urls.iter().find(|(known, _)| *known == at) else {
            return Answer::Broken("the application is not installed".into());
        };
        let token = &self.tenants[at.tenant()].token;
        let mut request = self.http.post(reach(url)).json(what);
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        if let Some(host) = url.host_str() {
            let port = url.port().map(|port| format!(":{port}"));
            request = request.header(HOST, format!("{host}{}", port.unwrap_or_default()));
        }
        let answer = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>(Answer::read(status, &response.text().await?))
        };
        answer
            .await
            .unwrap_or_else(|error| Answer::Broken(format!("the application's call: {error}")))
    }

    /// The proxy, for cases that need one.
    pub(super) fn proxy(&self) -> Result<&Proxy, Stop> {
        match &self.proxy {
            Some(proxy) => Ok(proxy),
            None => skipped("no --server was named"),
        }
    }

    /// Has fair weather again, on new connections, and asks until the driver has found its server:
    /// `expected` is what it must answer in the end.
    pub(super) async fn recovers(&self, ask: &Value, expected: &Value) -> Result<(), Stop> {
        let value = self.answers_again(ask).await?;
        super::probe::same("after the fault", &value, expected)
    }

    /// Has fair weather again, on new connections, and asks until the driver has found its server.
    pub(super) async fn answers_again(&self, ask: &Value) -> Result<Value, Stop> {
        let proxy = self.proxy()?;
        proxy.set(Weather::Fair);
        proxy.break_all();
        let end = tokio::time::Instant::now() + RECOVERY;
        loop {
            let answer = self.ask(At::First, ask).await.defined("after the fault")?;
            match answer {
                Ok(value) => return Ok(value),
                Err(fault) if tokio::time::Instant::now() > end => {
                    let seconds = RECOVERY.as_secs();
                    return failed(format!(
                        "the server is back for {seconds} s, and still: {fault}"
                    ));
                }
                Err(_) => {}
            }
        }
    }

    /// Has fair weather again, and lets the driver notice that its connections are gone.
    pub(super) async fn settle(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.calm();
        }
        let Some(settling) = &self.settling else {
            return;
        };
        for at in At::ALL {
            // A driver that broke down may be left alone for a while.
            let end = tokio::time::Instant::now() + REST;
            while !self.urls.is_empty() && tokio::time::Instant::now() < end {
                if matches!(self.ask(at, settling).await, Answer::Done(_)) {
                    break;
                }
            }
        }
    }

    /// Asks the driver whether it works: `None` where it has nothing to say, else its words if not.
    pub(super) async fn check(&self) -> Result<Option<Result<(), String>>, Stop> {
        let path = [
            "tenants",
            self.tenants[0].name.as_str(),
            "drivers",
            DRIVER,
            "check",
        ];
        let checked = self.api.post(&path, &json!({})).await;
        match checked {
            Ok(canopy_api_types::DriverChecked { checked: true, .. }) => Ok(Some(Ok(()))),
            Ok(_) => Ok(None),
            Err(Error::Problem { problem, .. }) if problem.code() == "check-failed" => {
                Ok(Some(Err(problem.detail.clone())))
            }
            Err(error) => failed(format!("asking the driver: {error}")),
        }
    }

    /// Asks until the driver says that it works.
    pub(super) async fn works_again(&self) -> Result<(), Stop> {
        let proxy = self.proxy()?;
        proxy.set(Weather::Fair);
        proxy.break_all();
        let end = tokio::time::Instant::now() + RECOVERY;
        while let Some(Err(said)) = self.check().await? {
            if tokio::time::Instant::now() > end {
                return failed(format!("the server is back, and the driver says: {said}"));
            }
        }
        Ok(())
    }

    /// Sets the driver up a second time, without anything that it may reach. What the platform says
    /// to that; `None`: it let it pass.
    pub(super) async fn without_grants(&self) -> Result<Option<String>, Stop> {
        let path = [
            "tenants",
            self.tenants[0].name.as_str(),
            "drivers",
            "closed",
        ];
        let body = DriverPut {
            egress: Vec::new(),
            ..self.driver.clone()
        };
        let put = self.api.put::<_, Driver>(&path, &body, Condition::Absent);
        match put.await {
            Err(Error::Problem { problem, .. }) if problem.code() == "check-failed" => {
                Ok(Some(problem.detail.clone()))
            }
            Err(error) => failed(format!("setting the driver up: {error}")),
            Ok(_) => match self.api.delete(&path).await {
                Ok(()) => Ok(None),
                Err(error) => failed(format!("removing the driver: {error}")),
            },
        }
    }

    /// Writes the driver's settings again, which starts it anew for the first tenant.
    pub(super) async fn restart(&self) -> Result<(), Stop> {
        let path = ["tenants", self.tenants[0].name.as_str(), "drivers", DRIVER];
        let put = self
            .api
            .put::<_, Driver>(&path, &self.driver, Condition::Always);
        match put.await {
            Ok(_) => Ok(()),
            Err(error) => failed(format!("writing the driver's settings: {error}")),
        }
    }

    /// What the platform has written into the driver's logs since it was asked last: how the driver
    /// broke down, if it did.
    pub(super) async fn breakdowns(&mut self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for tenant in &mut self.tenants {
            let path = ["tenants", tenant.name.as_str(), "drivers", DRIVER, "logs"];
            loop {
                let query = [
                    ("after", tenant.seen.to_string()),
                    ("limit", LOG_PAGE.to_owned()),
                ];
                let page: LogPage = self.api.query(&path, &query).await?;
                tenant.seen = page.next_after;
                if page.items.is_empty() {
                    break;
                }
                let said = page.items.into_iter().filter(|record| {
                    record.source == LogSource::Platform && record.level >= LogLevel::Error
                });
                found.extend(said.map(|record| record.message));
            }
        }
        Ok(found)
    }

    /// Deletes what the cases have written, as far as that can be done: the server may be a real one.
    pub(super) async fn tidy(&self) {
        for at in At::ALL {
            for store in ["default", "second"] {
                let list = json!({"op": "list", "store": store});
                let Answer::Done(Value::Array(keys)) = self.ask(at, &list).await else {
                    continue;
                };
                for some in keys.chunks(super::cases::BATCH) {
                    let delete = json!({"op": "delete-many", "store": store, "keys": some});
                    self.ask(at, &delete).await;
                }
            }
        }
    }

    /// The node's control API.
    pub(super) fn api(&self) -> &Client {
        &self.api
    }
}

/// Where a request goes that is for `url`: names below `localhost` are this machine, which not every
/// resolver knows.
fn reach(url: &Url) -> Url {
    let mut address = url.clone();
    if url
        .host_str()
        .is_some_and(|host| host.ends_with(".localhost"))
    {
        // An address of this scheme takes any host.
        let _ = address.set_host(Some("127.0.0.1"));
    }
    address
}

async fn tenant(api: &Client, name: Label, driver: &DriverPut) -> Result<Scratch, Error> {
    let body = TenantPut::new("A test of a driver");
    let path = ["tenants", name.as_str()];
    let _: Tenant = api.put(&path, &body, Condition::Absent).await?;
    let path = ["tenants", name.as_str(), "drivers", DRIVER];
    let _: Driver = api.put(&path, driver, Condition::Absent).await?;
    let body = TokenCreate {
        subject: "driver-test".into(),
        display_name: None,
        roles: Vec::new(),
        access: None,
    };
    let token: TokenCreated = api
        .post(&["tenants", name.as_str(), "tokens"], &body)
        .await?;
    Ok(Scratch {
        name,
        token: token.secret.reveal().to_owned(),
        seen: 0,
    })
}

pub(super) fn label(name: &str) -> Result<Label, Error> {
    name.parse()
        .map_err(|error: canopy_ids::InvalidName| Error::local("a name of the test", error))
}
