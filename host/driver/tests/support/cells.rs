//! A resource of the host that may cross: a cell with a number in it, which counts how many there
//! are; and what watches a cell, which may not cross.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use canopy_driver::{HostObject, HostResource};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};

use super::Host;

/// The object behind the resource. `None` stands in for one that is lent.
pub(crate) struct Cell {
    value: Option<u32>,
    _counted: Option<Counted>,
}

/// Cells that exist, by the value that they were made with.
static LIVE: Mutex<Vec<(u32, Arc<AtomicUsize>)>> = Mutex::new(Vec::new());

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn counter(value: u32) -> Arc<AtomicUsize> {
    let mut live = LIVE.lock().expect("lock");
    if let Some((_, count)) = live.iter().find(|(known, _)| *known == value) {
        return count.clone();
    }
    let count = Arc::new(AtomicUsize::new(0));
    live.push((value, count.clone()));
    count
}

/// How many cells there are that were made with `value`. Each test has values of its own.
pub(crate) fn live(value: u32) -> usize {
    counter(value).load(Ordering::SeqCst)
}

struct Watch;

struct Cells;

impl HostObject for Cells {
    type Object = Cell;
    const INTERFACE: &'static str = "acme:host/cells@1.0.0";
    const RESOURCE: &'static str = "cell";

    fn stand_in() -> Cell {
        Cell {
            value: None,
            _counted: None,
        }
    }

    async fn end(cell: Cell) {
        drop(cell);
    }
}

pub(crate) static RESOURCES: [HostResource<Host>; 1] = [HostResource::of::<Cells>()];

pub(crate) fn define(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut cells = linker.instance("acme:host/cells@1.0.0")?;
    cells.resource("cell", ResourceType::host::<Cell>(), |mut store, rep| {
        let table = &mut store.data_mut().table;
        table.delete(Resource::<Cell>::new_own(rep))?;
        Ok(())
    })?;
    cells.resource("watch", ResourceType::host::<Watch>(), |mut store, rep| {
        let table = &mut store.data_mut().table;
        table.delete(Resource::<Watch>::new_own(rep))?;
        Ok(())
    })?;
    cells.func_wrap(
        "[constructor]cell",
        |mut store: StoreContextMut<'_, Host>, (value,): (u32,)| {
            let count = counter(value);
            count.fetch_add(1, Ordering::SeqCst);
            let cell = Cell {
                value: Some(value),
                _counted: Some(Counted(count)),
            };
            Ok((store.data_mut().table.push(cell)?,))
        },
    )?;
    cells.func_wrap(
        "[method]cell.add",
        |mut store: StoreContextMut<'_, Host>, (cell, n): (Resource<Cell>, u32)| {
            let cell = store.data_mut().table.get_mut(&cell)?;
            let lent = || wasmtime::Error::msg("the cell is lent");
            let value = cell.value.as_mut().ok_or_else(lent)?;
            *value += n;
            Ok((*value,))
        },
    )?;
    cells.func_wrap(
        "[method]cell.watch",
        |mut store: StoreContextMut<'_, Host>, (cell,): (Resource<Cell>,)| {
            Ok((store.data_mut().table.push_child(Watch, &cell)?,))
        },
    )
}
