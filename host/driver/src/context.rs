//! On whose behalf a call is made, until when, and through which drivers it came.

use std::sync::Arc;
use std::time::Instant;

use canopy_ids::DriverInstanceId;

use crate::error::FailureCause;

/// What a call carries from store to store. `C` is what the runtime knows about the caller; it is
/// cloned per call and wants to be cheap to clone.
#[derive(Debug, Clone)]
pub struct CallContext<C> {
    /// Who calls.
    pub caller: C,
    /// When the whole call must be over.
    pub deadline: Instant,
    path: Option<Arc<Hop>>,
}

/// A driver instance that a call is in, and how it came there.
#[derive(Debug)]
struct Hop {
    driver: DriverInstanceId,
    depth: usize,
    previous: Option<Arc<Hop>>,
}

impl<C: Clone> CallContext<C> {
    /// The context of a call that has been through no driver yet.
    pub fn new(caller: C, deadline: Instant) -> Self {
        Self {
            caller,
            deadline,
            path: None,
        }
    }

    /// How many drivers the call is in.
    pub fn depth(&self) -> usize {
        self.path.as_ref().map_or(0, |hop| hop.depth)
    }

    /// The context within `driver`. Refused where the call is too deep, and where it already is in
    /// that instance, which answers one call at a time and would wait for itself.
    pub(crate) fn enter(
        &self,
        driver: DriverInstanceId,
        limit: usize,
    ) -> Result<Self, FailureCause> {
        let mut hop = self.path.as_deref();
        while let Some(here) = hop {
            if here.driver == driver {
                return Err(FailureCause::Recursion);
            }
            hop = here.previous.as_deref();
        }
        let depth = self.depth() + 1;
        if depth > limit {
            return Err(FailureCause::DepthLimit { limit });
        }
        let path = Some(Arc::new(Hop {
            driver,
            depth,
            previous: self.path.clone(),
        }));
        Ok(Self {
            caller: self.caller.clone(),
            deadline: self.deadline,
            path,
        })
    }

    /// The same call with another deadline.
    pub(crate) fn until(&self, deadline: Instant) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> CallContext<()> {
        CallContext::new((), Instant::now())
    }

    #[test]
    fn the_limit_is_the_deepest_call() {
        let mut context = root();
        for _ in 0..16 {
            context = context
                .enter(DriverInstanceId::new(), 16)
                .expect("within the limit");
        }
        let refused = context.enter(DriverInstanceId::new(), 16);
        assert!(matches!(
            refused,
            Err(FailureCause::DepthLimit { limit: 16 })
        ));
    }

    #[test]
    fn a_driver_is_not_entered_twice() {
        let [a, b] = [DriverInstanceId::new(), DriverInstanceId::new()];
        let within = root()
            .enter(a, 16)
            .and_then(|call| call.enter(b, 16))
            .expect("two drivers");
        assert_eq!(within.depth(), 2);
        assert!(matches!(within.enter(a, 16), Err(FailureCause::Recursion)));
        assert!(root().enter(a, 16).is_ok(), "another call may");
    }
}
