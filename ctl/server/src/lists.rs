//! Lists, page by page: read from the store behind the key that the page's token names.

use bcast_domain::{Tep, Vni};
use ctl_api::model::{HavipState, ModelError, Name, TepRef, Word};
use ctl_api::proto;
use ctl_store::StoreError;
use hashbrown::HashSet;
use prost::Message;

use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::state::lock;

/// Items of a page where the request does not say, and at most.
const PAGE: (u32, u32) = (1_000, 10_000);
/// Bytes of a page: a page of large items is shorter.
const PAGE_BYTES: usize = 1 << 20;

/// The key that a token names; `None`: from the start.
pub(crate) fn after<K: std::str::FromStr>(token: &str) -> Result<Option<K>, Refusal> {
    let key = if token.is_empty() { None } else { Some(token.parse()) };
    key.transpose().map_err(|_| Refusal::PageToken(token.chars().take(64).collect()))
}

/// The items of a page, and the token of the next.
pub(crate) fn page<T, M: Message + From<T>>(
    size: u32,
    entries: impl Iterator<Item = Result<T, StoreError>>,
    key: impl Fn(&T) -> String,
) -> Result<(Vec<M>, String), Refusal> {
    let most = if size == 0 { PAGE.0 } else { size.min(PAGE.1) } as usize;
    let (mut items, mut bytes, mut last) = (Vec::new(), 0, String::new());
    for entry in entries {
        let entry = entry?;
        if items.len() == most || bytes >= PAGE_BYTES {
            return Ok((items, last));
        }
        last = key(&entry);
        let item = M::from(entry);
        bytes += item.encoded_len();
        items.push(item);
    }
    Ok((items, String::new()))
}

/// Entries that satisfy a condition; an error stays.
fn only<'e, T: 'e>(
    entries: impl Iterator<Item = Result<T, StoreError>> + 'e,
    is_one: impl Fn(&T) -> bool + 'e,
) -> impl Iterator<Item = Result<T, StoreError>> + 'e {
    entries.filter(move |entry| entry.as_ref().map_or(true, &is_one))
}

pub(crate) fn teps(
    shared: &Shared,
    request: &proto::ListTepsRequest,
) -> Result<proto::ListTepsReply, Refusal> {
    let members = |vni: u32| {
        let vni = Vni::from(vni);
        let members = lock(&shared.state).members(vni).ok_or(Refusal::NoDomain(vni))?;
        Ok::<_, Refusal>(members.into_iter().collect::<HashSet<Tep>>())
    };
    let members = request.vni.map(members).transpose()?;
    let behind = after::<std::net::Ipv4Addr>(&request.page_token)?;
    let behind =
        behind.map(Tep::new).transpose().map_err(|_| Refusal::PageToken(request.page_token.clone()))?;
    let snapshot = shared.store.snapshot()?;
    let entries = snapshot.teps_after(behind)?;
    let entries = only(entries, |tep| members.as_ref().is_none_or(|members| members.contains(&tep.address)));
    let (teps, next_page_token) = page(request.page_size, entries, |tep| tep.address.to_string())?;
    Ok(proto::ListTepsReply { teps, next_page_token, revision: snapshot.revision().get() })
}

pub(crate) fn domains(
    shared: &Shared,
    request: proto::ListDomainsRequest,
) -> Result<proto::ListDomainsReply, Refusal> {
    let tep = request.tep.map(|tep| TepRef::try_from(Some(tep))).transpose().map_err(Refusal::Model)?;
    let member = tep.map(|tep| lock(&shared.state).resolve(&tep).ok_or(Refusal::NoTep(tep))).transpose()?;
    let behind = after::<u32>(&request.page_token)?.map(Vni::from);
    let snapshot = shared.store.snapshot()?;
    let entries = snapshot.domains_after(behind)?;
    let entries = only(entries, |domain| member.is_none_or(|tep| domain.members.binary_search(&tep).is_ok()));
    let entries = entries.map(|entry| {
        let mut domain = entry?;
        if request.without_members {
            domain.members.clear();
        }
        Ok(domain)
    });
    let (mut domains, next_page_token) =
        page::<_, proto::Domain>(request.page_size, entries, |domain| domain.vni.get().to_string())?;
    if request.without_members {
        domains.iter_mut().for_each(|domain| domain.members = None);
    }
    Ok(proto::ListDomainsReply { domains, next_page_token, revision: snapshot.revision().get() })
}

pub(crate) fn havips(
    shared: &Shared,
    request: &proto::ListHavipsRequest,
) -> Result<proto::ListHavipsReply, Refusal> {
    let state = |&number: &i32| {
        HavipState::from_number(number)?.ok_or(ModelError::Missing("state to list HAVIPs by"))
    };
    let states = request.states.iter().map(state).collect::<Result<Vec<_>, _>>().map_err(Refusal::Model)?;
    let behind = after::<Name>(&request.page_token)?;
    let snapshot = shared.store.snapshot()?;
    let entries = snapshot.havips_after(behind.as_ref())?;
    let entries = only(entries, |entry| {
        request.vni.is_none_or(|vni| entry.havip.vni.get() == vni)
            && (states.is_empty() || states.contains(&entry.binding.state))
    });
    let (havips, next_page_token) = page(request.page_size, entries, |entry| entry.havip.name.to_string())?;
    Ok(proto::ListHavipsReply { havips, next_page_token, revision: snapshot.revision().get() })
}
