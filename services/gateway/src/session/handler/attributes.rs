//! Attributes: what an application keeps with a session, by name, for as long as the session's handles live.

use std::{any::Any, collections::HashMap, fmt, sync::Arc};

use parking_lot::RwLock;

type AttributeValue = Arc<dyn Any + Send + Sync>;

/// Values by name, each of a type of its own. Usable from any thread; no call waits for another's use of a value.
#[derive(Default)]
pub struct Attributes(RwLock<HashMap<String, AttributeValue>>);

impl Attributes {
    /// Sets a value, in place of the one before.
    pub fn set<T: Send + Sync + 'static>(&self, name: impl Into<String>, value: T) {
        let value: AttributeValue = Arc::new(value);
        // Dropped after the lock is given back: the value's own `drop` may look here.
        let before = self.0.write().insert(name.into(), value);
        drop(before);
    }

    /// The value of this name, if there is one and it is of this type.
    pub fn get<T: Send + Sync + 'static>(&self, name: &str) -> Option<Arc<T>> {
        let value = self.0.read().get(name).cloned();
        value?.downcast().ok()
    }

    /// Removes a value. Whether there was one.
    pub fn remove(&self, name: &str) -> bool {
        let before = self.0.write().remove(name);
        before.is_some()
    }
}

impl fmt::Debug for Attributes {
    /// The names alone: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.read().keys()).finish()
    }
}
