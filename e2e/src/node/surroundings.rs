//! What is around the programs of a node, made inside of its namespaces: a
//! network, folders that they write to wherever they are told to write, and the
//! settings of the kernel that a kubelet wants to find.

use std::fs;

use anyhow::{Context, Result};

use super::command;
use super::programs::DOMAIN;
use crate::process::run;

/// Folders that programs of a node write to, also when they are told otherwise.
const WRITTEN: [&str; 3] = ["/run", "/var/log", "/var/lib/cni"];

/// Where programs read whom to ask for names.
const RESOLVER: &str = "/etc/resolv.conf";

/// Settings of the whole machine that the kubelet changes where it finds others.
/// It is shown what it wants: these have no namespace.
const SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// Makes the namespaces' own network and mounts.
pub(super) fn prepare(address: &str) -> Result<()> {
    let with_length = format!("{address}/24");
    // A bridge, since few kernels have a dummy device.
    for arguments in [
        "link set lo up",
        "link add node0 type bridge",
        &format!("address add {with_length} dev node0"),
        "link set node0 up",
        "route add default dev node0",
    ] {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        run(command("ip", &arguments))?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot forward packets")?;
    let resolver = fs::canonicalize(RESOLVER);
    for folder in WRITTEN {
        fs::create_dir_all(folder)?;
        run(command("mount", &["-t", "tmpfs", "tmpfs", folder]))?;
    }
    for (name, value) in SETTINGS {
        let (setting, shown) = (
            format!("/proc/sys/{name}"),
            format!("/run/{}", name.replace('/', ".")),
        );
        fs::write(&shown, format!("{value}\n"))?;
        run(command("mount", &["--bind", &shown, &setting]))?;
    }
    // Who is on the node finds Services by name, as Pods do.
    let own = "/run/resolv.conf.e2e";
    let names = format!("nameserver {address}\nsearch {DOMAIN}\noptions ndots:5\n");
    fs::write(own, names)?;
    let resolver = resolver.context(RESOLVER)?;
    if !resolver.exists() {
        // It was in a folder that is covered now.
        fs::create_dir_all(resolver.parent().unwrap_or(&resolver))?;
        fs::write(&resolver, "")?;
    }
    let resolver = resolver.display().to_string();
    run(command("mount", &["--bind", own, &resolver]))?;
    Ok(())
}

/// Tries whether namespaces, a bridge, a table of nftables and a mount can be
/// had here.
pub(super) fn tried() -> Result<()> {
    let script = "ip link add node0 type bridge && nft add table ip e2e \
                  && mount -t tmpfs tmpfs /run";
    let mut command = command(super::inside::UNSHARE[0], &super::inside::UNSHARE[1..]);
    command.args(["sh", "-c", script]);
    run(command).map(drop)
}
