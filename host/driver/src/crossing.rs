//! What a component hands over, on its way to another one, without the way: for tests that fill a
//! component's memory with anything and see what comes of it (`tests/fuzz`). On a node it is
//! [`DriverHandle`](crate::DriverHandle) that takes values from store to store.

use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{Func, LinkerInstance};
use wasmtime::{AsContextMut, Result};

use crate::canonical::{Flat, MAX_FLAT, flat_count, with_count};
use crate::values::Value;

/// The parameters or results of a call, read and written as those of drivers are. They may be of any
/// type that has no resources, streams and futures in it, which belong to a store.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Crossing(Vec<Value>);

impl Crossing {
    /// Calls `function` with these values. The caller vouches that they are of its parameters' types;
    /// others are an error.
    pub async fn call<T: Send + 'static>(
        self,
        function: Func,
        mut store: impl AsContextMut<Data = T>,
    ) -> Result<Self> {
        let ty = function.ty(&store);
        with_count!(flat_count(ty.results()).unwrap_or(1), N => {
            let function = function.typed::<Flat<MAX_FLAT>, Flat<N>>(&store)?;
            let Flat(results) = function.call_async(&mut store, Flat(self.0)).await?;
            Ok(Self(results))
        })
    }

    /// Defines the function `name` of an instance that is imported, of type `ty`: its results are what
    /// `answer` makes of its parameters.
    pub fn define<T: 'static>(
        instance: &mut LinkerInstance<'_, T>,
        name: &str,
        ty: &ComponentFunc,
        answer: impl Fn(Self) -> Self + Send + Sync + 'static,
    ) -> Result<()> {
        let parameters = flat_count(ty.params().map(|(_, ty)| ty)).unwrap_or(MAX_FLAT);
        with_count!(parameters, N => instance.func_wrap(name, move |_, Flat::<N>(parameters)| {
            Ok(Flat::<1>(answer(Self(parameters)).0))
        }))
    }

    /// What they take of memory, as it is counted for whoever hands them over.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Value::bytes).sum()
    }
}
