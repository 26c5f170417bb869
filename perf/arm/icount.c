/* Counts the instructions that a program executes under qemu's user-mode emulation, all threads together, and prints
 * "instructions N FUNCTION" on stderr at its end for each function, "-" for code without a symbol. Prototypes of the plugin interface (version 1) as far as used here: Debian 12 has no header. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct info;

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int op, void *ptr, uint64_t imm);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);

#define ADD_U64 0
#define EXPORT __attribute__((visibility("default")))

EXPORT int qemu_plugin_version = 1;

/* In the order they were met; a counter must not move once code refers to it. */
#define FUNCTIONS_MAX 65536
static struct { char *name; uint64_t instructions; } functions[FUNCTIONS_MAX];
static size_t functions_count;

/* Called when code is translated, which is once for each block: a linear search is fast enough. */
static uint64_t *counter(const char *name)
{
    if (!name)
        name = "-";
    for (size_t i = 0; i < functions_count; i++)
        if (strcmp(functions[i].name, name) == 0)
            return &functions[i].instructions;
    if (functions_count == FUNCTIONS_MAX)
        abort();
    functions[functions_count].name = strdup(name);
    return &functions[functions_count++].instructions;
}

/* One addition an instruction, not one a block: a block may be left in its midst. */
static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint64_t *count = counter(qemu_plugin_insn_symbol(instruction));
        qemu_plugin_register_vcpu_insn_exec_inline(instruction, ADD_U64, count, 1);
    }
}

static void ended(plugin_id id, void *nothing)
{
    (void)id;
    (void)nothing;
    for (size_t i = 0; i < functions_count; i++)
        fprintf(stderr, "instructions %llu %s\n", (unsigned long long)functions[i].instructions, functions[i].name);
}

EXPORT int qemu_plugin_install(plugin_id id, const struct info *info, int argc, char **argv)
{
    (void)info;
    (void)argc;
    (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
