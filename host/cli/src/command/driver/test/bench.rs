//! What the cases work with: a driver set up for two scratch tenants, with what it builds on, and
//! applications that use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
/// The name of the driver under test in each tenant.
pub(super) const DRIVER: &str = "tested";
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

/// A driver of the chain as a tenant has it.
pub(super) struct Link {
    name: Label,
    body: DriverPut,
    /// The last record of its log that has been looked at.
    seen: u64,
}

impl Link {
    pub(super) fn new(name: Label, body: DriverPut) -> Self {
        let seen = 0;
        Self { name, body, seen }
    }
}

/// A tenant that exists for the test alone.
struct Scratch {
    name: Label,
    token: String,
    /// The driver under test, and behind it those that it builds on. There is one at least.
    chain: Vec<Link>,
    /// What stands before the server of the last of them.
    proxy: Option<Proxy>,
}

/// What is known of the drivers, and may be done with them.
pub(super) struct Given {
    /// Bytes of memory that the driver under test may take.
    pub(super) memory: u64,
    /// How many stores the driver before the server may have for each tenant.
    pub(super) stores: u32,
    /// Where mail of the cases may go.
    pub(super) mail_to: Option<String>,
}

/// What the cases work with.
pub(super) struct Bench {
    api: Arc<Client>,
    /// The same, by which drivers are set up without being asked whether they work.
    unchecked: Client,
    http: reqwest::Client,
    tenants: Vec<Scratch>,
    pub(super) given: Given,
    /// Where the applications of the present suite answer.
    urls: Vec<(At, Url)>,
    /// What they are asked for to see that the driver works.
    settling: Option<Value>,
    /// Names that have been made so far.
    names: AtomicU64,
}

impl Bench {
    /// Creates the two tenants, with the drivers of each. `proxies` are as many, or none.
    pub(super) async fn set_up(
        api: Arc<Client>,
        tenants: Vec<(Label, Vec<Link>)>,
        proxies: Vec<Proxy>,
        given: Given,
    ) -> Result<Self, Error> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::local("the HTTP client", error))?;
        let mut proxies = proxies.into_iter();
        let mut made = Vec::new();
        for (name, chain) in tenants {
            made.push(tenant(&api, name, chain, proxies.next()).await?);
        }
        Ok(Self {
            unchecked: Client::clone(&api).checking(false),
            api,
            http,
            tenants: made,
            given,
            urls: Vec::new(),
            settling: None,
            names: AtomicU64::new(0),
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
            let url = installed.url.unwrap_or_default();
            let url = url.parse().map_err(|error| Error::local(&url, error))?;
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

    /// What stands before the first tenant's server, for cases that need it.
    pub(super) fn proxy(&self) -> Result<&Proxy, Stop> {
        self.proxy_of(At::First)
    }

    /// What stands before the server of whoever asks.
    pub(super) fn proxy_of(&self, at: At) -> Result<&Proxy, Stop> {
        match &self.tenants[at.tenant()].proxy {
            Some(proxy) => Ok(proxy),
            None => skipped("no --server was named"),
        }
    }

    fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.tenants
            .iter()
            .filter_map(|tenant| tenant.proxy.as_ref())
    }

    /// Whether connections have seen anything but fair weather since the last [`Self::settle`].
    pub(super) fn is_disturbed(&self) -> bool {
        self.proxies().any(Proxy::is_disturbed)
    }

    /// A name that nobody has asked for yet, so that no cache knows what is under it.
    pub(super) fn fresh(&self) -> String {
        format!("fresh{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// What applications ask for to see that the driver works, down to its server, each time by a name
    /// of its own; a case is left out where nothing may be asked for.
    pub(super) fn settling(&self) -> Result<Value, Stop> {
        let Some(mut ask) = self.settling.clone() else {
            return skipped("no --mail-to was named");
        };
        if let Some(key) = ask.get_mut("key") {
            *key = Value::from(self.fresh());
        }
        Ok(ask)
    }

    /// Has fair weather again, on new connections, and asks until the driver has found its server.
    pub(super) async fn recovers(&self) -> Result<(), Stop> {
        let proxy = self.proxy()?;
        proxy.set(Weather::Fair);
        proxy.break_all();
        self.answer(|| self.settling()).await.map(drop)
    }

    /// Asks until there is no error any more: each of several connections may have to be found broken.
    pub(super) async fn answer(
        &self,
        ask: impl Fn() -> Result<Value, Stop>,
    ) -> Result<Value, Stop> {
        let end = tokio::time::Instant::now() + RECOVERY;
        loop {
            let answer = self.ask(At::First, &ask()?).await;
            match answer.defined("after the fault")? {
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

    /// Has the drivers forget what they remember: they are started anew, and then have connections again.
    pub(super) async fn forget(&self) -> Result<(), Stop> {
        self.restart(At::First).await?;
        let answer = self.ask(At::First, &self.settling()?).await;
        answer.done("after a restart").map(drop)
    }

    /// Has fair weather again, and lets the driver notice that its connections are gone.
    pub(super) async fn settle(&self) {
        self.proxies().for_each(Proxy::calm);
        for at in At::ALL {
            // A driver that broke down may be left alone for a while.
            let end = tokio::time::Instant::now() + REST;
            while !self.urls.is_empty() && tokio::time::Instant::now() < end {
                let Ok(settling) = self.settling() else {
                    return;
                };
                if matches!(self.ask(at, &settling).await, Answer::Done(_)) {
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

    /// Asks the driver whether it works while the last of its chain may reach nothing.
    pub(super) async fn check_without_grants(&self) -> Result<Option<Result<(), String>>, Stop> {
        let tenant = &self.tenants[0];
        let Some(last) = tenant.chain.last() else {
            return failed("there is no driver");
        };
        let closed = DriverPut {
            egress: Vec::new(),
            ..last.body.clone()
        };
        self.put(&self.unchecked, tenant, last, &closed).await?;
        let said = self.check().await;
        self.put(&self.api, tenant, last, &last.body).await?;
        said
    }

    /// Starts all drivers of a tenant anew. Settings that are as they were start nothing; another name of
    /// the tenant concerns everything of it, whatever its settings are.
    pub(super) async fn restart(&self, at: At) -> Result<(), Stop> {
        let name = self.tenants[at.tenant()].name.as_str();
        let body = TenantPut::new(format!("A test of a driver: {}", self.fresh()));
        let path = ["tenants", name];
        let put = self.api.put::<_, Tenant>(&path, &body, Condition::Always);
        match put.await {
            Ok(_) => Ok(()),
            Err(error) => failed(format!("starting the drivers anew: {error}")),
        }
    }

    /// Writes the settings of a driver.
    async fn put(
        &self,
        api: &Client,
        tenant: &Scratch,
        link: &Link,
        body: &DriverPut,
    ) -> Result<(), Stop> {
        let path = [
            "tenants",
            tenant.name.as_str(),
            "drivers",
            link.name.as_str(),
        ];
        let put = api.put::<_, Driver>(&path, body, Condition::Always);
        match put.await {
            Ok(_) => Ok(()),
            Err(error) => failed(format!("writing the settings of {}: {error}", link.name)),
        }
    }

    /// What the platform has written into the drivers' logs since it was asked last: how one of them
    /// broke down, if it did.
    pub(super) async fn breakdowns(&mut self) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for tenant in &mut self.tenants {
            for link in &mut tenant.chain {
                let driver = link.name.as_str();
                let path = ["tenants", tenant.name.as_str(), "drivers", driver, "logs"];
                loop {
                    let query = [
                        ("after", link.seen.to_string()),
                        ("limit", LOG_PAGE.to_owned()),
                    ];
                    let page: LogPage = self.api.query(&path, &query).await?;
                    link.seen = page.next_after;
                    if page.items.is_empty() {
                        break;
                    }
                    let said = page.items.into_iter().filter(|record| {
                        record.source == LogSource::Platform && record.level >= LogLevel::Error
                    });
                    found.extend(said.map(|record| match driver {
                        DRIVER => record.message,
                        link => format!("{link}: {}", record.message),
                    }));
                }
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

async fn tenant(
    api: &Client,
    name: Label,
    chain: Vec<Link>,
    proxy: Option<Proxy>,
) -> Result<Scratch, Error> {
    let body = TenantPut::new("A test of a driver");
    let path = ["tenants", name.as_str()];
    let _: Tenant = api.put(&path, &body, Condition::Absent).await?;
    // The last one first: a driver is bound to one that is there.
    for Link {
        name: link, body, ..
    } in chain.iter().rev()
    {
        let path = ["tenants", name.as_str(), "drivers", link.as_str()];
        let _: Driver = api.put(&path, body, Condition::Absent).await?;
    }
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
        chain,
        proxy,
    })
}

pub(super) fn label(name: &str) -> Result<Label, Error> {
    name.parse()
        .map_err(|error: canopy_ids::InvalidName| Error::local("a name of the test", error))
}
