//! The node agent: drives containerd over CRI, runs probes, mounts volumes, serves logs and exec.
