//! The daemon's own table.

use bcast_domain::{DomainPublisher, Reader, Vni, table_with_capacity};

use super::super::work::{BURST, List};
use super::{Found, Read, Sides, Write};

/// Table as a worker uses it: a whole burst at once.
pub(super) fn table(domains: u32) -> Sides {
    let (publisher, _array, readers) = table_with_capacity((), domains as usize);
    (Box::new(Writer(publisher)), Box::new(InBulk(readers.reader())))
}

struct Writer(DomainPublisher);

impl Write for Writer {
    fn set(&mut self, vni: u32, list: &List) {
        // Lists of 16 distinct members, of at most a million domains, break no limit. If one were refused, the check
        // of what is found would tell.
        let _refused = self.0.set(Vni::new(vni), list);
    }

    fn remove(&mut self, vni: u32) {
        self.0.remove(Vni::new(vni));
    }

    fn publish(&mut self) {
        self.0.epoch();
        self.0.reclaim();
    }
}

struct InBulk(Reader<()>);

impl Read for InBulk {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        let mut keys = [Vni::default(); BURST];
        for (key, &vni) in keys.iter_mut().zip(vnis) {
            *key = Vni::new(vni);
        }
        let mut lists = [None; BURST];
        self.0.lookup_bulk(&keys, &mut lists);
        for (found, list) in found.iter_mut().zip(&lists) {
            *found = list.and_then(|list| list.members().first()).map(|member| member.get());
        }
        self.0.quiesce();
    }
}
