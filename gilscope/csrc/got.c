#define _GNU_SOURCE
#include "got.h"

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#define RELOC_JUMP_SLOT R_X86_64_JUMP_SLOT
#define RELOC_GLOB_DAT  R_X86_64_GLOB_DAT
#elif defined(__aarch64__)
#define RELOC_JUMP_SLOT R_AARCH64_JUMP_SLOT
#define RELOC_GLOB_DAT  R_AARCH64_GLOB_DAT
#else
#define RELOC_JUMP_SLOT (-1)
#define RELOC_GLOB_DAT  (-1)
#endif

struct search {
    uintptr_t address;
    const char *const *names;
    int n_names;
    struct gs_got_slot *slots;
    int found;
};

struct dynamic {
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Rela) * tables[2];
    size_t sizes[2];
};

static bool object_contains(const struct dl_phdr_info *o, uintptr_t address)
{
    for (int i = 0; i < o->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &o->dlpi_phdr[i];
        uintptr_t start = o->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_LOAD && address >= start && address < start + p->p_memsz)
            return true;
    }
    return false;
}

static struct dynamic read_dynamic(const struct dl_phdr_info *o)
{
    struct dynamic d = {0};
    const ElfW(Dyn) *entry = NULL;
    for (int i = 0; i < o->dlpi_phnum; i++)
        if (o->dlpi_phdr[i].p_type == PT_DYNAMIC)
            entry = (const void *)(o->dlpi_addr + o->dlpi_phdr[i].p_vaddr);
    for (; entry && entry->d_tag != DT_NULL; entry++) {
        uintptr_t value = entry->d_un.d_ptr;
        /* glibc has added the load address to these pointers already, musl has not. */
        uintptr_t pointer = value < o->dlpi_addr ? value + o->dlpi_addr : value;
        switch (entry->d_tag) {
        case DT_SYMTAB:
            d.symbols = (const void *)pointer;
            break;
        case DT_STRTAB:
            d.strings = (const void *)pointer;
            break;
        case DT_JMPREL:
            d.tables[0] = (const void *)pointer;
            break;
        case DT_PLTRELSZ:
            d.sizes[0] = value;
            break;
        case DT_RELA:
            d.tables[1] = (const void *)pointer;
            break;
        case DT_RELASZ:
            d.sizes[1] = value;
            break;
        default:
            break;
        }
    }
    return d;
}

static int name_of(const struct search *s, const char *symbol)
{
    for (int i = 0; i < s->n_names; i++)
        if (strcmp(symbol, s->names[i]) == 0)
            return i;
    return -1;
}

static int search_object(struct dl_phdr_info *o, size_t size, void *data)
{
    (void)size;
    struct search *s = data;
    if (!object_contains(o, s->address))
        return 0;
    struct dynamic d = read_dynamic(o);
    if (!d.symbols || !d.strings)
        return 1;
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; d.tables[t] && i < d.sizes[t] / sizeof(ElfW(Rela)); i++) {
            const ElfW(Rela) *r = &d.tables[t][i];
            int type = (int)ELF64_R_TYPE(r->r_info);
            if ((type != RELOC_JUMP_SLOT && type != RELOC_GLOB_DAT) || s->found == GS_GOT_SLOTS)
                continue;
            int name = name_of(s, d.strings + d.symbols[ELF64_R_SYM(r->r_info)].st_name);
            if (name < 0)
                continue;
            void **where = (void **)(o->dlpi_addr + r->r_offset);
            s->slots[s->found++] = (struct gs_got_slot){where, *where, name};
        }
    }
    return 1;
}

int gs_got_find(const void *address, const char *const *names, int n_names,
                struct gs_got_slot slots[GS_GOT_SLOTS])
{
    struct search s = {(uintptr_t)address, names, n_names, slots, 0};
    dl_iterate_phdr(search_object, &s);
    return s.found;
}

/* The page's protection now, from the kernel's own list; -1 if it cannot be read. */
static int page_protection(uintptr_t page)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    int protection = -1;
    while (maps && protection < 0 && fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, mode) == 3 && page >= start && page < end)
            protection = (mode[0] == 'r' ? PROT_READ : 0) | (mode[1] == 'w' ? PROT_WRITE : 0) |
                         (mode[2] == 'x' ? PROT_EXEC : 0);
    }
    if (maps)
        fclose(maps);
    return protection;
}

bool gs_got_swap(struct gs_got_page *last, void **where, void *from, void *to)
{
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t page = (uintptr_t)where & ~(page_size - 1);
    if (last->page != page || !page)
        *last = (struct gs_got_page){page, page_protection(page)};
    int protection = last->protection;
    bool read_only = !(protection & PROT_WRITE);
    if (protection < 0 ||
        (read_only && mprotect((void *)page, page_size, protection | PROT_WRITE) != 0))
        return false;
    bool swapped =
        __atomic_compare_exchange_n(where, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    if (read_only)
        mprotect((void *)page, page_size, protection);
    return swapped;
}
