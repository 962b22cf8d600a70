//! The interfaces' functions.

use crate::bindings::{store_draft, store_rc};
use crate::ctx::ConfigView;

impl ConfigView<'_> {
    fn value(&self, key: &str) -> Option<String> {
        self.ctx.values.get(key).cloned()
    }

    fn all(&self) -> Vec<(String, String)> {
        self.ctx
            .values
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }
}

impl store_rc::Host for ConfigView<'_> {
    fn get(&mut self, key: String) -> Result<Option<String>, store_rc::Error> {
        Ok(self.value(&key))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store_rc::Error> {
        Ok(self.all())
    }
}

impl store_draft::Host for ConfigView<'_> {
    fn get(&mut self, key: String) -> Result<Option<String>, store_draft::Error> {
        Ok(self.value(&key))
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, store_draft::Error> {
        Ok(self.all())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::ctx::ConfigCtx;

    fn ctx() -> ConfigCtx {
        ConfigCtx::new(Arc::new(BTreeMap::from([
            ("currency".to_owned(), "EUR".to_owned()),
            ("api-key".to_owned(), "s3cret".to_owned()),
        ])))
    }

    #[test]
    fn both_drafts_read_the_same_values() {
        let mut ctx = ctx();
        let mut view = ConfigView { ctx: &mut ctx };
        let value = Some("EUR".to_owned());
        assert_eq!(
            store_rc::Host::get(&mut view, "currency".into()).expect("ok"),
            value
        );
        assert_eq!(
            store_draft::Host::get(&mut view, "currency".into()).expect("ok"),
            value
        );
        let all = store_rc::Host::get_all(&mut view).expect("ok");
        assert_eq!(all, store_draft::Host::get_all(&mut view).expect("ok"));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn what_is_not_set_is_none_and_no_error() {
        let mut ctx = ctx();
        let mut view = ConfigView { ctx: &mut ctx };
        assert_eq!(
            store_rc::Host::get(&mut view, "Currency".into()).expect("ok"),
            None
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = format!("{:?}", ctx());
        assert!(
            text.contains("api-key") && !text.contains("s3cret"),
            "{text}"
        );
    }
}
