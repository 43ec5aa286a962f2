//! VIP table of a domain: lookup by address, for workers.

use std::{fmt, net::IpAddr};

use crate::{
    AnnouncerId, RejectReason, TepIndex, Vip, VipId, limits::MAX_VIPS, table::slots::prefetch,
    vip::StrictDomain,
};

/// Virtual IPs of a domain with their announcers. Immutable: a change makes a new table.
///
/// Reached from the domain's [`MemberList`](crate::MemberList).
pub struct VipTable {
    /// Open addressing with linear probing: a power of two, at most half full.
    buckets: Box<[VipBucket]>,
    vips: Box<[Vip]>,
    /// Announcers in the order of their MAC address and endpoint, as [`by_mac`] has them.
    instances: Box<[(u64, VipId, AnnouncerId)]>,
    /// Instances by the VRRP ids whose virtual MAC addresses they may use, in the order of id and endpoint.
    virtuals: Box<[Virtual]>,
    has_groups: bool,
    /// Addresses of virtual IPs without announcers, ascending.
    unguarded: Box<[IpAddr]>,
    /// Rules of a strict domain.
    strict: Option<StrictDomain>,
}

/// Announcer that may use the virtual MAC addresses of a VRRP id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Virtual {
    /// VRRP id and endpoint.
    key: u32,
    /// The announcer's own MAC address and endpoint, as [`by_mac`] has them.
    own: u64,
    vip: VipId,
    announcer: AnnouncerId,
}

/// Bucket of one virtual IP: a cache line with the fields that most announcements need.
#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct VipBucket {
    address: Address,
    /// Index in `vips` plus one; 0: empty bucket.
    position: u32,
    is_v4: bool,
    id: u32,
    /// First announcers; 0: none.
    announcers: [u32; NEAR],
    who: [u64; NEAR],
}

/// Announcers in a bucket. Further ones, and VRRP's virtual MAC addresses, are looked up in the [`Vip`].
const NEAR: usize = 3;

const _: () = assert!(size_of::<VipBucket>() == 64 && MAX_VIPS < u32::MAX as usize);

/// Address as plain words. An [`IpAddr`] is moved in wider pieces than it was written, which stalls store
/// forwarding.
type Address = [u64; 2];

/// Address to look up, in two steps: [`VipTable::prefetch`], and later [`VipTable::look_up`].
#[derive(Clone, Copy, Debug, Default)]
pub struct VipKey {
    address: Address,
    hash: u32,
    is_v4: bool,
}

impl VipKey {
    /// Key of this address.
    ///
    /// Hashed with the finalizer of MurmurHash3. That is enough: addresses come from the operator's subnets. A packet
    /// only looks up, so an attacker can at worst choose the longest run of buckets that exists.
    #[inline(always)]
    pub fn new(address: IpAddr) -> Self {
        let is_v4 = address.is_ipv4();
        let address = match address {
            IpAddr::V4(address) => [address.to_bits().into(), 0],
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
                [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]].map(u64::from_be_bytes)
            }
        };
        let mut hash = address[0] ^ address[1].wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        let [.., a, b, c, d] = hash.to_le_bytes();
        Self { address, hash: u32::from_le_bytes([a, b, c, d]), is_v4 }
    }

    /// IP address.
    pub fn address(&self) -> IpAddr {
        let [first, second] = self.address.map(u64::to_be_bytes);
        match (self.is_v4, first, second) {
            (true, [_, _, _, _, a, b, c, d], _) => IpAddr::from([a, b, c, d]),
            (false, [a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) => {
                IpAddr::from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
            }
        }
    }
}

/// MAC address and endpoint as one word; 0: none, as no MAC address is zero.
#[inline(always)]
pub(crate) fn who(mac: [u8; 6], tep: TepIndex) -> u64 {
    // An index has 16 bits.
    let [low, high, ..] = tep.get().to_le_bytes();
    let [a, b, c, d, e, f] = mac;
    u64::from_le_bytes([a, b, c, d, e, f, low, high])
}

const _: () = assert!(crate::limits::MAX_TEPS <= 1 << 16);

/// Endpoint in that word.
pub(crate) fn tep(who: u64) -> TepIndex {
    let [.., low, high] = who.to_le_bytes();
    TepIndex::from(u16::from_le_bytes([low, high]))
}

/// MAC address in that word.
pub(crate) fn mac(who: u64) -> [u8; 6] {
    let [mac @ .., _, _] = who.to_le_bytes();
    mac
}

/// Result of a lookup.
#[derive(Clone, Copy)]
pub struct VipEntry<'g> {
    vip_table: &'g VipTable,
    bucket: &'g VipBucket,
}

impl<'g> VipEntry<'g> {
    /// Number of the virtual IP.
    #[inline(always)]
    pub fn id(self) -> VipId {
        VipId(self.bucket.id)
    }

    /// Announcer with this MAC address at this endpoint; see [`Vip::announcer`].
    #[inline(always)]
    pub fn announcer(self, mac: [u8; 6], tep: TepIndex) -> Option<AnnouncerId> {
        let who = who(mac, tep);
        match self.bucket.who.iter().position(|&near| near == who) {
            Some(near) if who != 0 => Some(AnnouncerId(self.bucket.announcers[near])),
            _ => self.far_announcer(mac, tep),
        }
    }

    /// Announcer that binds the address; see [`Vip::binder`].
    #[inline(always)]
    pub fn binder(self, source: [u8; 6], bound: [u8; 6], tep: TepIndex) -> Result<AnnouncerId, RejectReason> {
        let who = who(source, tep);
        match self.bucket.who.iter().position(|&near| near == who) {
            Some(near) if bound == source && who != 0 => Ok(AnnouncerId(self.bucket.announcers[near])),
            _ => self.far_binder(source, bound, tep),
        }
    }

    #[cold]
    fn far_binder(self, source: [u8; 6], bound: [u8; 6], tep: TepIndex) -> Result<AnnouncerId, RejectReason> {
        self.vip().binder(source, bound, tep)
    }

    #[cold]
    fn far_announcer(self, mac: [u8; 6], tep: TepIndex) -> Option<AnnouncerId> {
        self.vip().announcer(mac, tep)
    }

    /// Virtual IP.
    #[inline]
    pub fn vip(self) -> &'g Vip {
        &self.vip_table.vips[self.bucket.position as usize - 1]
    }
}

impl VipTable {
    /// VIP table of these virtual IPs. Of entries with the same address the first is found.
    ///
    /// A virtual IP without announcers is not found: nobody is known who may announce it, so nobody is kept from it. Its
    /// address is [unguarded](Self::is_unguarded). Entries beyond [`MAX_VIPS`] are left out.
    pub fn new(vips: impl IntoIterator<Item = Vip>) -> Self {
        let (vips, open): (Vec<Vip>, Vec<Vip>) =
            vips.into_iter().take(MAX_VIPS).partition(|vip| !vip.announcers.is_empty());
        let vips: Box<[Vip]> = vips.into();
        let mut unguarded: Vec<IpAddr> = open.iter().map(|vip| vip.address).collect();
        unguarded.sort_unstable();
        let buckets = vec![VipBucket::default(); (2 * vips.len()).next_power_of_two()];
        let mut vip_table = Self {
            buckets: buckets.into(),
            vips: [].into(),
            instances: instances(&vips),
            virtuals: virtuals(&vips),
            has_groups: vips.iter().any(|vip| vip.group != 0),
            unguarded: unguarded.into(),
            strict: None,
        };
        for (position, vip) in (1..).zip(&vips) {
            let key = VipKey::new(vip.address);
            let mut at = vip_table.start(&key);
            while vip_table.buckets[at].position != 0 {
                at = vip_table.next(at);
            }
            vip_table.buckets[at] = VipBucket::new(&key, position, vip);
        }
        vip_table.vips = vips;
        vip_table
    }

    /// Adds the rules of a strict domain.
    #[must_use]
    pub fn strict(self, strict: StrictDomain) -> Self {
        Self { strict: Some(strict), ..self }
    }

    /// Rules of a strict domain; `None`: the domain is not strict.
    #[inline(always)]
    pub fn strictly(&self) -> Option<&StrictDomain> {
        self.strict.as_ref()
    }

    /// Virtual IP with this address.
    pub fn find(&self, address: IpAddr) -> Option<&Vip> {
        self.look_up(&VipKey::new(address)).map(VipEntry::vip)
    }

    /// All virtual IPs.
    pub fn vips(&self) -> &[Vip] {
        &self.vips
    }

    /// Virtual IP with this key.
    #[inline(always)]
    pub fn look_up(&self, key: &VipKey) -> Option<VipEntry<'_>> {
        let mut at = self.start(key);
        loop {
            let bucket = &self.buckets[at];
            if bucket.position == 0 {
                return None;
            }
            if bucket.address == key.address && bucket.is_v4 == key.is_v4 {
                return Some(VipEntry { vip_table: self, bucket });
            }
            at = self.next(at);
        }
    }

    /// Virtual IPs that the instance with this MAC address at this endpoint may announce. Its virtual MAC addresses are not
    /// looked at.
    pub fn of_instance(
        &self,
        mac: [u8; 6],
        tep: TepIndex,
    ) -> impl Iterator<Item = (VipId, AnnouncerId)> + use<'_> {
        self.of_key(by_mac(who(mac, tep)), 0)
    }

    /// Virtual IPs that the instance with this MAC address may announce, with its announcers at all endpoints.
    pub fn of_mac(&self, mac: [u8; 6]) -> impl Iterator<Item = (VipId, AnnouncerId)> + use<'_> {
        self.of_key(by_mac(who(mac, TepIndex::default())), u16::MAX.into())
    }

    /// Virtual IPs that the instance may announce whose frames come from this MAC address, its own or a virtual one, at this
    /// endpoint. Of several that may use the virtual one each counts for the virtual IPs with that VRRP id alone.
    pub fn of_source(
        &self,
        mac: [u8; 6],
        tep: TepIndex,
    ) -> impl Iterator<Item = (VipId, AnnouncerId)> + use<'_> {
        let virtuals = match mac {
            [0x00, 0x00, 0x5e, 0x00, 1 | 2, vrid] => self.of_vrid(vrid, tep),
            _ => &[],
        };
        let one = virtuals.first().filter(|one| virtuals.iter().all(|other| other.own == one.own));
        let (key, several) = match one {
            Some(one) => (one.own, &[][..]),
            None => (by_mac(who(mac, tep)), virtuals),
        };
        self.of_key(key, 0).chain(several.iter().map(|one| (one.vip, one.announcer)))
    }

    /// Announcers with keys from this one to the one that is greater by `more`.
    fn of_key(&self, key: u64, more: u64) -> impl Iterator<Item = (VipId, AnnouncerId)> + use<'_> {
        let from = self.instances.partition_point(|instance| instance.0 < key);
        let found = self.instances.get(from..).unwrap_or_default().iter();
        found
            .take_while(move |instance| instance.0 - key <= more)
            .map(|&(_, vip, announcer)| (vip, announcer))
    }

    fn of_vrid(&self, vrid: u8, tep: TepIndex) -> &[Virtual] {
        let key = virtual_key(vrid, tep);
        let from = self.virtuals.partition_point(|one| one.key < key);
        let until = self.virtuals.partition_point(|one| one.key <= key);
        self.virtuals.get(from..until).unwrap_or_default()
    }

    /// The other virtual IPs in the group of this one.
    pub fn group(&self, vip: &Vip) -> impl Iterator<Item = &Vip> {
        let (id, group) = (vip.id, vip.group);
        let all = if self.has_groups && group != 0 { &self.vips[..] } else { &[] };
        all.iter().filter(move |other| other.group == group && other.id != id)
    }

    /// Some virtual IPs are in groups.
    #[inline(always)]
    pub fn has_groups(&self) -> bool {
        self.has_groups
    }

    /// True for the address of a virtual IP without announcers: not even a strict domain's rules hold for it.
    pub fn is_unguarded(&self, address: IpAddr) -> bool {
        self.unguarded.binary_search(&address).is_ok()
    }

    /// Prefetches the first bucket of a lookup.
    #[inline(always)]
    pub fn prefetch(&self, key: &VipKey) {
        prefetch(&raw const self.buckets[self.start(key)]);
    }

    #[inline(always)]
    fn start(&self, key: &VipKey) -> usize {
        key.hash as usize & (self.buckets.len() - 1)
    }

    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.buckets.len() - 1)
    }
}

/// MAC address and endpoint as one word, in the order of MAC addresses.
fn by_mac(who: u64) -> u64 {
    who.rotate_left(16)
}

fn virtual_key(vrid: u8, tep: TepIndex) -> u32 {
    u32::from(vrid) << 16 | tep.get()
}

/// All announcers that may use virtual MAC addresses: those that are alone at their endpoint, see [`Vip::announcer`].
fn virtuals(vips: &[Vip]) -> Box<[Virtual]> {
    let mut all = Vec::new();
    for vip in vips {
        let is_alone = |tep| vip.announcers.iter().filter(|other| other.tep == tep).count() == 1;
        for announcer in vip.announcers.iter().filter(|announcer| is_alone(announcer.tep)) {
            let own = by_mac(who(announcer.mac.octets(), announcer.tep));
            let of = |&vrid| Virtual {
                key: virtual_key(vrid, announcer.tep),
                own,
                vip: vip.id,
                announcer: announcer.id,
            };
            all.extend(vip.vrids.iter().map(of));
        }
    }
    all.sort_unstable();
    all.into()
}

/// All announcers by MAC address and endpoint, as a sorted list: an operator's limits keep it short.
fn instances(vips: &[Vip]) -> Box<[(u64, VipId, AnnouncerId)]> {
    let announcers = vips.iter().flat_map(|vip| vip.announcers.iter().map(|announcer| (vip.id, announcer)));
    let mut all: Vec<_> = announcers
        .map(|(vip, announcer)| (by_mac(who(announcer.mac.octets(), announcer.tep)), vip, announcer.id))
        .collect();
    all.sort_unstable();
    all.into()
}

impl VipBucket {
    fn new(key: &VipKey, position: u32, vip: &Vip) -> Self {
        let VipKey { address, is_v4, .. } = *key;
        let mut bucket = Self { address, position, is_v4, id: vip.id.get(), ..Self::default() };
        for (near, announcer) in vip.announcers.iter().take(NEAR).enumerate() {
            bucket.who[near] = who(announcer.mac.octets(), announcer.tep);
            bucket.announcers[near] = announcer.id.get();
        }
        bucket
    }
}

impl fmt::Debug for VipTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.vips).finish()
    }
}
