//! What the platform says it serves is what links.

use canopy_runtime::{PrepareError, ServeError, platform};

use crate::support::{App, Node};

#[tokio::test(flavor = "multi_thread")]
async fn a_component_without_a_handler_is_refused() {
    let node = Node::new();
    let app = App::of(node.text("nothing", "(component)"));
    let refused = node.get(&app, "/").await;
    assert!(
        matches!(&refused, Err(ServeError::Prepare(error))
            if matches!(&**error, PrepareError::NoHandler { .. })),
        "{refused:?}"
    );
}

/// A component that only imports links as far as its imports go, and is then refused for want of a
/// handler.
#[tokio::test(flavor = "multi_thread")]
async fn every_interface_of_the_list_links() {
    let node = Node::new();
    for interface in platform::interfaces() {
        let text = format!(r#"(component (import "{interface}" (instance)))"#);
        let refused = node.get(&App::of(node.text("importer", &text)), "/").await;
        assert!(
            matches!(&refused, Err(ServeError::Prepare(error))
                if matches!(&**error, PrepareError::NoHandler { .. })),
            "{interface}: {refused:?}"
        );
    }
}
