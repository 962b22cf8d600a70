//! The way from the control plane to the edge: calls of the platform's own take that of requests.

use std::sync::Arc;

use canopy_app::{Answered, Answering, Invocation, Invoke};
use canopy_edge::Edge;
use canopy_runtime::Runtime;

/// Has applications called by the edge.
pub(crate) struct Scheduled(pub(crate) Arc<Edge<Runtime>>);

impl Invoke for Scheduled {
    fn invoke(&self, invocation: Invocation) -> Answering<'_> {
        Box::pin(async move {
            let Invocation {
                installation,
                caller,
                request,
            } = invocation;
            let invocation = canopy_edge::Invocation {
                installation,
                caller,
                request,
            };
            let answered = self.0.invoke(invocation).await;
            Answered {
                request_id: answered.request_id,
                outcome: match answered.outcome {
                    Ok(status) => Ok(status.as_u16()),
                    Err(error) => Err(error.to_string()),
                },
            }
        })
    }
}
