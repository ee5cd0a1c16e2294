//! Where the kernel's own structures of a trie have what a walk through it needs. They are looked for once in a process: the
//! kernel's types are many.

use std::sync::OnceLock;

use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{MemberAttr, Struct};

/// Offsets, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Of the first node's address in `struct lpm_trie`.
    pub(super) root: u64,
    /// Of the children's addresses in `struct lpm_trie_node`, behind which lie the key's length, the flags, and the key.
    pub(super) node: u64,
}

/// None if this kernel does not say, or has them otherwise: then there is no walk but through bpf(2).
pub(super) fn layout() -> Option<Layout> {
    static LAYOUT: OnceLock<Option<Layout>> = OnceLock::new();
    *LAYOUT.get_or_init(|| of(&Btf::from_vmlinux().ok()?))
}

fn of(types: &Btf<'_>) -> Option<Layout> {
    let offset = |of: &str, name: &str| {
        let members: Struct<'_> = types.type_by_name(of)?;
        let member = members.iter().find(|member| member.name.is_some_and(|known| known == name))?;
        match member.attr {
            MemberAttr::Normal { offset } => Some(u64::from(offset / 8)),
            MemberAttr::BitField { .. } => None,
        }
    };
    let in_node = |name| offset("lpm_trie_node", name);
    let (root, node) = (offset("lpm_trie", "root")?, in_node("child")?);
    let behind = [in_node("prefixlen")?, in_node("flags")?, in_node("data")?];
    // As `struct node` of the programs has it.
    (behind == [node + 16, node + 20, node + 24]).then_some(Layout { root, node })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_says_where_it_has_what() {
        let Ok(types) = Btf::from_vmlinux() else {
            test_services::tools::skip(
                "the_running_kernel_says_where_it_has_what",
                "this kernel has no types",
            );
            return;
        };
        let layout = of(&types).expect("a layout");
        assert!(layout.root > 0 && layout.root.is_multiple_of(8), "{layout:?}");
        assert_eq!(super::layout(), Some(layout));
    }
}
