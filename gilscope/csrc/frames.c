#define _GNU_SOURCE
#include "frames.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "layout.h"

/* Until 3.12 nothing in the interpreter tells where its fields are: offsetof() on 64-bit Linux. */
static const struct gs_frames frames_3_11 = {
    .thread_frame = 56,
    .cframe_frame = 8,
    .through_cframe = true,
    .code = 32,
    .previous = 48,
    .instr = 56,
    .owner = 69,
    .code_type = 8,
    .file = 112,
    .name = 128,
    .lines = 136,
    .first_line = 72,
    .instrs = 184,
    .str_length = 16,
    .str_state = 32,
    .str_ascii = 48,
    .str_other = 72,
    .bytes_size = 16,
    .bytes_data = 32,
};
static const struct gs_frames frames_3_12 = {
    .thread_frame = 56,
    .cframe_frame = 0,
    .through_cframe = true,
    .code = 0,
    .previous = 8,
    .instr = 56,
    .owner = 70,
    .code_type = 8,
    .file = 112,
    .name = 128,
    .lines = 136,
    .first_line = 68,
    .instrs = 192,
    .str_length = 16,
    .str_state = 32,
    .str_ascii = 40,
    .str_other = 56,
    .bytes_size = 16,
    .bytes_data = 32,
};

/* Since 3.13, which number of _Py_DebugOffsets says where; see layout.c. */
struct frames_index {
    uint8_t thread_frame;
    uint8_t frame; /* previous, executable, instr_ptr, localsplus, owner */
    uint8_t code;  /* filename, name, qualname, linetable, firstlineno */
    uint8_t instrs;
    uint8_t type;
    uint8_t bytes;   /* ob_size, ob_sval */
    uint8_t unicode; /* state, length, asciiobject_size */
};
static const struct frames_index index_3_13 = {23, 29, 35, 43, 45, 65, 68};
static const struct frames_index index_3_14 = {26, 32, 40, 48, 51, 75, 78};
static const struct frames_index index_3_15 = {26, 40, 48, 56, 59, 87, 90};

/* PyCompactUnicodeObject behind PyASCIIObject: the length and the address of its UTF-8. */
#define COMPACT_AFTER_ASCII 16

/* The state of a str: bits 2 to 4 say how many bytes a character takes, 5 whether they stand behind
 * the object, 6 whether all are ASCII. */
#define KIND(state)       ((state) >> 2 & 7)
#define IS_COMPACT(state) ((state) >> 5 & 1)
#define IS_ASCII(state)   ((state) >> 6 & 1)

static bool from_debug_offsets(struct gs_frames *f, unsigned minor, char *why, size_t why_size)
{
    const uint64_t *table = dlsym(RTLD_DEFAULT, "_PyRuntime");
    const struct frames_index *x = minor == 13   ? &index_3_13
                                   : minor == 14 ? &index_3_14
                                                 : &index_3_15;
    const struct {
        uint16_t *to;
        int number;
    } wanted[] = {
        {&f->thread_frame, x->thread_frame},
        {&f->previous, x->frame},
        {&f->code, x->frame + 1},
        {&f->instr, x->frame + 2},
        {&f->owner, x->frame + 4},
        {&f->file, x->code},
        {&f->name, x->code + 2},
        {&f->lines, x->code + 3},
        {&f->first_line, x->code + 4},
        {&f->instrs, x->instrs},
        {&f->code_type, x->type},
        {&f->bytes_size, x->bytes},
        {&f->bytes_data, x->bytes + 1},
        {&f->str_state, x->unicode},
        {&f->str_length, x->unicode + 1},
        {&f->str_ascii, x->unicode + 2},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        uint64_t offset = table ? table[wanted[i].number] : UINT64_MAX;
        if (offset > UINT16_MAX)
            return gs_layout_refuse(why, why_size,
                                    "expected entry %d of _Py_DebugOffsets below 65536, found %llu",
                                    wanted[i].number, (unsigned long long)offset);
        *wanted[i].to = (uint16_t)offset;
    }
    f->str_other = f->str_ascii + COMPACT_AFTER_ASCII;
    return true;
}

static bool locate(struct gs_frames *f, unsigned python_hex, char *why, size_t why_size)
{
    memset(f, 0, sizeof *f);
    switch (python_hex >> 16) {
    case 0x030b:
        *f = frames_3_11;
        return true;
    case 0x030c:
        *f = frames_3_12;
        return true;
    case 0x030d:
    case 0x030e:
    case 0x030f:
        return from_debug_offsets(f, python_hex >> 16 & 0xff, why, why_size);
    default:
        return gs_layout_refuse(why, why_size, "expected CPython 3.11 to 3.15, found %u.%u",
                                python_hex >> 24, python_hex >> 16 & 0xff);
    }
}

/* ---- strings and bytes ---- */

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c <
        0x10000) { /* lone surrogates of undecodable file names too, as Python's surrogatepass */
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | (c >> 18 & 7));
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static uint32_t character(const void *data, unsigned kind, size_t i)
{
    return kind == 1   ? ((const uint8_t *)data)[i]
           : kind == 2 ? ((const uint16_t *)data)[i]
                       : ((const uint32_t *)data)[i];
}

/* Returns how many bytes were written; whole characters only. */
static size_t to_utf8(const void *data, unsigned kind, size_t length, char *to, size_t most)
{
    size_t size = 0;
    for (size_t i = 0; i < length && size + 4 <= most; i++)
        size += put_utf8(to + size, character(data, kind, i));
    return size;
}

/* Where the characters of a string stand, from its beginning; 0: in a way that is not known. */
static size_t characters_at(const struct gs_frames *f, uint32_t state)
{
    unsigned kind = KIND(state);
    if (!IS_COMPACT(state) || (kind != 1 && kind != 2 && kind != 4))
        return 0;
    return IS_ASCII(state) ? f->str_ascii : f->str_other;
}

static size_t read_str(const struct gs_frames *f, uintptr_t str, char *to, size_t most)
{
    uint32_t state = *(const uint32_t *)(str + f->str_state);
    size_t length = *(const size_t *)(str + f->str_length), at = characters_at(f, state);
    return at ? to_utf8((const void *)(str + at), KIND(state), length, to, most) : 0;
}

static struct gs_text bytes_of(const struct gs_frames *f, uintptr_t bytes)
{
    return (struct gs_text){(const char *)(bytes + f->bytes_data),
                            *(const size_t *)(bytes + f->bytes_size)};
}

/* ---- code ---- */

static uintptr_t type_of(const struct gs_frames *f, uintptr_t object)
{
    return gs_frames_load(object + f->code_type);
}

bool gs_frames_is_code(const struct gs_frames *f, uintptr_t code)
{
    if (!code || type_of(f, code) != f->type)
        return false;
    uintptr_t name = gs_frames_load(code + f->name), file = gs_frames_load(code + f->file);
    bool has_line = *(const uint32_t *)(code + f->first_line) != 0;
    return name && file && gs_frames_load(code + f->lines) && (has_line || name != file);
}

void gs_frames_read(const struct gs_frames *f, uintptr_t code, struct gs_code_text *to)
{
    to->first_line = *(const uint32_t *)(code + f->first_line);
    to->lines = bytes_of(f, gs_frames_load(code + f->lines));
    to->name_size = read_str(f, gs_frames_load(code + f->name), to->name, sizeof to->name);
    to->file_size = read_str(f, gs_frames_load(code + f->file), to->file, sizeof to->file);
}

/* A PyVarObject, as bytes are, of code units of two bytes. */
size_t gs_frames_size(const struct gs_frames *f, uintptr_t code)
{
    return 2 * *(const size_t *)(code + f->bytes_size);
}

/* ---- what another thread does ---- */

#define MOST_LOOKS 16 /* what is torn may be a circle */

struct look {
    uintptr_t code, instr, previous;
    uint8_t owner;
};

/* Twice in one go: a frame that the thread changes meanwhile is not alike. */
static bool look_at(const struct gs_frames *f, uintptr_t frame, struct look *to)
{
    struct look again = {0};
    struct iovec here[] = {{&to->code, 8},       {&to->instr, 8},  {&to->previous, 8},
                           {&to->owner, 1},      {&again.code, 8}, {&again.instr, 8},
                           {&again.previous, 8}, {&again.owner, 1}};
    struct iovec there[] = {{(void *)(frame + f->code), 8},     {(void *)(frame + f->instr), 8},
                            {(void *)(frame + f->previous), 8}, {(void *)(frame + f->owner), 1},
                            {(void *)(frame + f->code), 8},     {(void *)(frame + f->instr), 8},
                            {(void *)(frame + f->previous), 8}, {(void *)(frame + f->owner), 1}};
    if (process_vm_readv(getpid(), here, 8, there, 8, 0) != 50 || to->code != again.code ||
        to->instr != again.instr || to->previous != again.previous || to->owner != again.owner)
        return false;
    to->code &= ~GS_REFERENCE_MARKS;
    return true;
}

void gs_frames_glimpse(const struct gs_frames *f, uintptr_t tstate, struct gs_glimpse *to)
{
    uintptr_t frame;
    struct look look;
    to->n = 0;
    if (!gs_layout_read(&frame, tstate + f->thread_frame, sizeof frame) ||
        (f->through_cframe && !gs_layout_read(&frame, frame + f->cframe_frame, sizeof frame)))
        return;
    for (int looks = 0; frame && to->n < GS_GLIMPSED && looks < MOST_LOOKS; looks++) {
        if (!look_at(f, frame, &look))
            return;
        if (look.owner < GS_FIRST_SHIM_OWNER)
            to->at[to->n++] = (struct gs_seen){frame, look.code, look.instr};
        frame = look.previous;
    }
}

bool gs_frames_still(const struct gs_frames *f, const struct gs_seen *seen)
{
    struct look look;
    return look_at(f, seen->frame, &look) && look.code == seen->code && look.instr == seen->instr;
}

bool gs_frames_meet(const struct gs_glimpse *glimpse, const struct gs_frame *frames, size_t n,
                    size_t *own, uint32_t *seen)
{
    for (*seen = 0; *seen < glimpse->n; ++*seen)
        for (*own = 0; *own < n; ++*own)
            if (frames[*own].address == glimpse->at[*seen].frame &&
                frames[*own].code == glimpse->at[*seen].code)
                return true;
    return false;
}

static size_t read_far_str(const struct gs_frames *f, uintptr_t str, char *to, size_t most)
{
    uint32_t state, data[1024];
    size_t length;
    struct iovec here[] = {{&state, sizeof state}, {&length, sizeof length}};
    struct iovec there[] = {{(void *)(str + f->str_state), sizeof state},
                            {(void *)(str + f->str_length), sizeof length}};
    if (process_vm_readv(getpid(), here, 2, there, 2, 0) != sizeof state + sizeof length)
        return 0;
    size_t at = characters_at(f, state);
    if (length > sizeof data / 4)
        length = sizeof data / 4;
    if (!at || !gs_layout_read(data, str + at, length * KIND(state)))
        return 0;
    return to_utf8(data, KIND(state), length, to, most);
}

static size_t read_far_bytes(const struct gs_frames *f, uintptr_t bytes, char *to, size_t most)
{
    size_t size;
    return gs_layout_read(&size, bytes + f->bytes_size, sizeof size) && size <= most &&
                   gs_layout_read(to, bytes + f->bytes_data, size)
               ? size
               : 0;
}

bool gs_frames_read_far(const struct gs_frames *f, uintptr_t code, struct gs_far_code *to)
{
    struct gs_code_text *text = &to->text;
    uintptr_t type, name, file, lines;
    struct iovec here[] = {{&type, 8},  {&name, 8},     {&file, 8},
                           {&lines, 8}, {&to->size, 8}, {&text->first_line, 4}};
    struct iovec there[] = {
        {(void *)(code + f->code_type), 8},  {(void *)(code + f->name), 8},
        {(void *)(code + f->file), 8},       {(void *)(code + f->lines), 8},
        {(void *)(code + f->bytes_size), 8}, {(void *)(code + f->first_line), 4}};
    if (process_vm_readv(getpid(), here, 6, there, 6, 0) != 44 || type != f->type)
        return false;
    if (!text->first_line && name == file) /* see gs_frames_is_code */
        return false;
    to->size *= 2;
    text->lines = (struct gs_text){to->lines, read_far_bytes(f, lines, to->lines, GS_FAR_LINES)};
    text->name_size = read_far_str(f, name, text->name, sizeof text->name);
    text->file_size = read_far_str(f, file, text->file, sizeof text->file);
    return text->lines.size && text->name_size && text->file_size;
}

/* ---- proof ---- */

static bool readable(uintptr_t address, size_t n)
{
    char there[512];
    return n <= sizeof there && gs_layout_read(there, address, n);
}

static bool same(struct gs_text expected, const char *text, size_t size)
{
    return expected.size == size && memcmp(expected.text, text, size) == 0;
}

static bool prove_strings(const struct gs_frames *f, const struct gs_known_frame *known, char *why,
                          size_t why_size)
{
    for (size_t i = 0; i < GS_KNOWN_STRINGS; i++) {
        char text[64];
        size_t size = read_str(f, (uintptr_t)known->strings[i].object, text, sizeof text);
        if (!same(known->strings[i].utf8, text, size))
            return gs_layout_refuse(why, why_size, "expected to read the string '%s', read '%.*s'",
                                    known->strings[i].utf8.text, (int)size, text);
    }
    return true;
}

static bool prove_code(const struct gs_frames *f, const struct gs_known_frame *known, char *why,
                       size_t why_size)
{
    static struct gs_code_text text; /* under the GIL */
    const uint16_t fields[] = {f->file, f->name, f->lines, f->first_line};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!readable((uintptr_t)known->code + fields[i], sizeof(uintptr_t)))
            return gs_layout_refuse(why, why_size, "expected a code object with a field at %u",
                                    fields[i]);
    for (size_t i = 0; i < 3; i++)
        if (!readable(gs_frames_load((uintptr_t)known->code + fields[i]), 64))
            return gs_layout_refuse(why, why_size, "expected a code object with a string at %u",
                                    fields[i]);
    if (!gs_frames_is_code(f, (uintptr_t)known->code))
        return gs_layout_refuse(why, why_size,
                                "expected the caller's code object to have a name and a file");
    gs_frames_read(f, (uintptr_t)known->code, &text);
    if (!same(known->name, text.name, text.name_size) ||
        !same(known->file, text.file, text.file_size))
        return gs_layout_refuse(why, why_size,
                                "expected the caller to be %s in %s, found %.*s in %.*s",
                                known->name.text, known->file.text, (int)text.name_size, text.name,
                                (int)text.file_size, text.file);
    if (text.first_line != (uint64_t)known->first_line ||
        !same(known->lines, text.lines.text, text.lines.size))
        return gs_layout_refuse(
            why, why_size,
            "expected the caller's first line to be %lld, with %zu bytes that tell lines, "
            "found %u and %zu",
            (long long)known->first_line, known->lines.size, text.first_line, text.lines.size);
    if (gs_frames_size(f, (uintptr_t)known->code) != (uint64_t)known->size)
        return gs_layout_refuse(why, why_size,
                                "expected the caller to have %lld bytes of instructions, found %zu",
                                (long long)known->size, gs_frames_size(f, (uintptr_t)known->code));
    return true;
}

static bool prove_stack(const struct gs_frames *f, const void *tstate,
                        const struct gs_known_frame *known, char *why, size_t why_size)
{
    uintptr_t p = (uintptr_t)tstate;
    struct gs_frame frame = {0}, caller = {0};
    if (!gs_layout_read(&p, p + f->thread_frame, sizeof p) ||
        (f->through_cframe && !gs_layout_read(&p, p + f->cframe_frame, sizeof p)) ||
        !readable(p, 256))
        return gs_layout_refuse(
            why, why_size, "expected this thread to have a frame, found none at %p", (void *)p);
    if (!gs_frames_next(f, &p, &frame) || frame.code != (uintptr_t)known->code)
        return gs_layout_refuse(why, why_size,
                                "expected the innermost frame to run the code at %p, found %p",
                                known->code, (void *)frame.code);
    if ((int32_t)frame.offset != known->offset)
        return gs_layout_refuse(why, why_size,
                                "expected the innermost frame at instruction %lld, found %d",
                                (long long)known->offset, (int32_t)frame.offset);
    if (known->caller &&
        (!gs_frames_next(f, &p, &caller) || caller.code != (uintptr_t)known->caller))
        return gs_layout_refuse(why, why_size,
                                "expected the next frame to run the code at %p, found %p",
                                known->caller, (void *)caller.code);
    return true;
}

bool gs_frames_prove(struct gs_frames *f, unsigned python_hex, const void *tstate,
                     const struct gs_known_frame *known, char *why, size_t why_size)
{
    if (!locate(f, python_hex, why, why_size))
        return false;
    f->type = type_of(f, (uintptr_t)known->code);
    return prove_stack(f, tstate, known, why, why_size) && prove_code(f, known, why, why_size) &&
           prove_strings(f, known, why, why_size);
}
