/* libvirt's own mend of CVE-2024-4418, for libvirt before 10.4, from outside.
 *
 * A thread that polls a connection for all adds an event source whose data is on its stack, and does not take
 * the source away when another thread's call wakes it. It ends up with several. Where the host is lost between
 * poll() and write(), it leaves with an error while the earlier ones are still attached; the next thread polls,
 * they fire, and what they write to and read from is a stack that is used anew, or gone.
 *
 * So a thread takes its source away when it has polled. Loaded before libvirt and for all to see, these two
 * functions stand before GLib's. Only contexts other than the default one are meant: vb-events has the default
 * one, and its sources stay. In a libvirt that takes its source away itself, doing so twice changes nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

/* GLib's, declared here so that its headers are not needed. */
typedef struct _GSource GSource;
typedef struct _GMainContext GMainContext;
typedef struct _GMainLoop GMainLoop;
extern GMainContext *g_main_loop_get_context(GMainLoop *loop);
extern GSource *g_source_ref(GSource *source);
extern void g_source_unref(GSource *source);
extern void g_source_destroy(GSource *source);

typedef unsigned int (*attach_function)(GSource *, GMainContext *);
typedef void (*run_function)(GMainLoop *);

static attach_function real_attach;
static run_function real_run;

/* This thread's last source, with a reference of ours, and the context that it was attached to. */
static __thread GSource *last;
static __thread GMainContext *last_context;

__attribute__((constructor)) static void find_real(void)
{
    real_attach = (attach_function) dlsym(RTLD_NEXT, "g_source_attach");
    real_run = (run_function) dlsym(RTLD_NEXT, "g_main_loop_run");
}

static void forget(void)
{
    if (last != NULL)
        g_source_unref(last);
    last = NULL;
}

unsigned int g_source_attach(GSource *source, GMainContext *context)
{
    if (context != NULL) {
        forget();
        last = g_source_ref(source);
        last_context = context;
    }
    return real_attach(source, context);
}

void g_main_loop_run(GMainLoop *loop)
{
    real_run(loop);
    if (last != NULL && last_context == g_main_loop_get_context(loop)) {
        g_source_destroy(last);
        forget();
    }
}
