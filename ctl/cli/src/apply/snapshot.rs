//! Everything that a node has, as of one revision.

use ctl_api::Client;
use ctl_api::model::{DomainEntry, Revision};

use super::inventory::Inventory;
use crate::failure::Failure;

/// Reads all TEPs and domains.
pub async fn read(client: &mut Client) -> Result<(Revision, Inventory), Failure> {
    let mut parts = client.snapshot().await?;
    let mut revision = Revision::default();
    let mut inventory = Inventory::default();
    while let Some(part) = parts.message().await.map_err(|status| Failure::of_stream(client, status))? {
        if let Some(number) = part.revision {
            revision = Revision::new(number);
        }
        for tep in part.teps {
            inventory.push_tep(tep.try_into()?);
        }
        for domain in part.domains {
            let DomainEntry { vni, name, limit, garp, mut members } = domain.try_into()?;
            members.sort_unstable();
            inventory.push_domain(vni, name, limit, garp, members);
        }
    }
    // The contract says that they come sorted; a diff of lists that are not would be wrong, not slow.
    inventory.sort();
    Ok((revision, inventory))
}
