//! The program that holds a pod's namespaces open: it sleeps, reaps orphans when it is pid 1 of a shared pid namespace,
//! and ends at SIGINT or SIGTERM. Without a libc, so that the image is a few KiB; compiled by `images/build.rs`.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 14;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const WAIT4: usize = 61;
    pub const EXIT: usize = 60;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const RT_SIGPROCMASK: usize = 135;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
    pub const EXIT: usize = 93;
}

const SIGINT: isize = 2;
const SIGTERM: isize = 15;
const SIGCHLD: isize = 17;
const WNOHANG: usize = 1;
const SIG_BLOCK: usize = 0;
/// The kernel's signal set is 64 bits wide; bit n-1 is signal n.
static AWAITED: u64 = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) | 1 << (SIGCHLD - 1);

// The stack is aligned before any Rust code runs.
#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {run}", run = sym run);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, #0", "bl {run}", run = sym run);

extern "C" fn run() -> ! {
    // Blocked signals stay pending even for pid 1, so none is lost between two waits.
    syscall(number::RT_SIGPROCMASK, SIG_BLOCK, &raw const AWAITED as usize, 0, size_of::<u64>());
    loop {
        match syscall(number::RT_SIGTIMEDWAIT, &raw const AWAITED as usize, 0, 0, size_of::<u64>()) {
            SIGCHLD => while syscall(number::WAIT4, usize::MAX, 0, WNOHANG, 0) > 0 {},
            SIGINT | SIGTERM => {
                syscall(number::EXIT, 0, 0, 0, 0);
            }
            _ => {}
        }
    }
}

fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the four calls made above read or write nothing but the constant set they are given.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("syscall", inlateout("rax") number as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             lateout("rcx") _, lateout("r11") _, options(nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("svc 0", in("x8") number, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
             options(nostack));
    }
    result
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
