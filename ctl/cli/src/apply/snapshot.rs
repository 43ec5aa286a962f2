//! Everything that a node has, as of one revision.

use bcast_domain::{Tep, Vni};
use ctl_api::Client;
use ctl_api::model::{Name, Revision, RowError, TepEntry};
use ctl_api::proto;

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
            let TepEntry { address, name } = tep.try_into()?;
            inventory.push_tep(address, name);
        }
        for domain in part.domains {
            add(&mut inventory, &domain)?;
        }
    }
    // The contract says that they come sorted; a diff of lists that are not would be wrong, not slow.
    inventory.sort();
    Ok((revision, inventory))
}

fn add(inventory: &mut Inventory, domain: &proto::Domain) -> Result<(), RowError> {
    let name: Option<Name> = if domain.name.is_empty() { None } else { Some(domain.name.parse()?) };
    let mut members =
        domain.members.iter().map(|&bits| Tep::new(bits.into())).collect::<Result<Vec<_>, _>>()?;
    members.sort_unstable();
    inventory.push_domain(Vni::from(domain.vni), name, members);
    Ok(())
}
