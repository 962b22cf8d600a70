//! The interface's functions.

use crate::bindings::identity::{self, Host};
use crate::ctx::{Caller, CallerKind, IdentityView, Installation, Tenant};

impl Host for IdentityView<'_> {
    fn current_tenant(&mut self) -> identity::Tenant {
        self.ctx.tenant().into()
    }

    fn current_caller(&mut self) -> identity::Caller {
        match self.ctx.call() {
            Some(call) => (&*call.caller).into(),
            None => (&Caller::anonymous()).into(),
        }
    }

    fn current_installation(&mut self) -> Option<identity::Installation> {
        self.ctx.call().map(|call| (&*call.installation).into())
    }
}

impl From<&Tenant> for identity::Tenant {
    fn from(tenant: &Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            name: tenant.name.clone(),
            display_name: tenant.display_name.clone(),
            plan: tenant.plan.clone(),
            region: tenant.region.clone(),
            attributes: tenant.attributes.clone().into_iter().collect(),
        }
    }
}

impl From<&Caller> for identity::Caller {
    fn from(caller: &Caller) -> Self {
        Self {
            kind: match caller.kind {
                CallerKind::Anonymous => identity::CallerKind::Anonymous,
                CallerKind::Member => identity::CallerKind::Member,
                CallerKind::Service => identity::CallerKind::Service,
                CallerKind::App => identity::CallerKind::App,
                CallerKind::Schedule => identity::CallerKind::Schedule,
            },
            subject: caller.subject.clone(),
            display_name: caller.display_name.clone(),
            roles: caller.roles.clone(),
            claims: caller.claims.clone(),
        }
    }
}

impl From<&Installation> for identity::Installation {
    fn from(installation: &Installation) -> Self {
        Self {
            id: installation.id.to_string(),
            name: installation.name.clone(),
            app: installation.app.clone(),
            version: installation.version.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use canopy_ids::{InstallationId, TenantId};

    use super::*;
    use crate::ctx::{CallFacts, IdentityCtx};

    fn ctx() -> IdentityCtx {
        IdentityCtx::new(Arc::new(Tenant {
            id: TenantId::new(),
            name: "acme".into(),
            display_name: "Acme Ltd".into(),
            plan: "team".into(),
            region: "eu".into(),
            attributes: BTreeMap::from([("vat".into(), "DE1".into())]),
        }))
    }

    #[test]
    fn outside_of_a_call_nobody_calls() {
        let mut ctx = ctx();
        let mut view = IdentityView { ctx: &mut ctx };
        assert_eq!(view.current_tenant().name, "acme");
        assert_eq!(
            view.current_tenant().attributes,
            [("vat".into(), "DE1".into())]
        );
        assert!(matches!(
            view.current_caller().kind,
            identity::CallerKind::Anonymous
        ));
        assert!(view.current_installation().is_none());
    }

    #[test]
    fn a_call_is_forgotten_when_it_ends() {
        let mut ctx = ctx();
        ctx.begin(CallFacts {
            caller: Arc::new(Caller::service(
                "tok_1",
                "Nightly export",
                vec!["admin".into()],
            )),
            installation: Arc::new(Installation {
                id: InstallationId::new(),
                name: "invoices".into(),
                app: "canopy/invoices".into(),
                version: "1.0.0".into(),
            }),
        });
        let mut view = IdentityView { ctx: &mut ctx };
        assert_eq!(view.current_caller().subject, "tok_1");
        assert_eq!(view.current_caller().roles, ["admin"]);
        assert_eq!(
            view.current_installation().map(|i| i.name).as_deref(),
            Some("invoices")
        );
        ctx.end();
        let mut view = IdentityView { ctx: &mut ctx };
        assert!(view.current_caller().subject.is_empty());
        assert!(view.current_installation().is_none());
    }
}
