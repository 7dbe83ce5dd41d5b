// What Curator's service discovery does; a program of its own.
//
//     Discovery HOSTS ROOT SCENARIO
//
// It notes down results and asks for things to be done by lines of JSON: see program.py.

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryOneTime;
import org.apache.curator.x.discovery.ServiceCache;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceType;
import org.apache.curator.x.discovery.UriSpec;
import org.apache.curator.x.discovery.details.ServiceCacheListener;

public class Discovery {
    static final ObjectMapper JSON = new ObjectMapper();
    static final BufferedReader INPUT = new BufferedReader(new InputStreamReader(System.in));
    static final long PATIENCE = 20_000;

    /** A payload of a class of its own. */
    public static class Details {
        public String zone;
        public int rack;
    }

    static void note(String what, Object... values) throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("note", what);
        line.put("values", Arrays.asList(values));
        System.out.println(JSON.writeValueAsString(line));
    }

    /** Has something done, and returns the answer. */
    static Object act(String what, Object... with) throws Exception {
        Map<String, Object> line = new LinkedHashMap<>();
        line.put("do", what);
        line.put("with", Arrays.asList(with));
        System.out.println(JSON.writeValueAsString(line));
        return JSON.readValue(INPUT.readLine(), Object.class);
    }

    static <T> ServiceDiscovery<T> discovery(CuratorFramework client, String root, Class<T> payload) throws Exception {
        ServiceDiscovery<T> one = ServiceDiscoveryBuilder.builder(payload).client(client).basePath(root).build();
        one.start();
        return one;
    }

    static Object shown(ServiceInstance<?> one) throws Exception {
        if (one == null) {
            return null;
        }
        Object payload = one.getPayload();
        if (payload instanceof Details) {
            Details details = (Details) payload;
            payload = "Details of " + details.zone + " " + details.rack;
        }
        String uri = one.getUriSpec() == null ? null : one.buildUriSpec();
        return Arrays.asList(one.getName(), one.getId(), one.getAddress(), one.getPort(), one.getSslPort(), payload,
            one.getRegistrationTimeUTC() > 1_600_000_000_000L, one.getServiceType().name(), uri, one.isEnabled());
    }

    static Object shown(Collection<? extends ServiceInstance<?>> all) throws Exception {
        TreeSet<String> lines = new TreeSet<>();
        for (ServiceInstance<?> one : all) {
            lines.add(JSON.writeValueAsString(shown(one)));
        }
        return new ArrayList<>(lines);
    }

    /** What a query gives, or how it fails. */
    static Object query(ServiceDiscovery<?> one, String name) throws Exception {
        try {
            return shown(one.queryForInstances(name));
        } catch (Exception error) {
            return "fails as a whole";
        }
    }

    static ServiceInstance<Object> instance(String id, ServiceType type, Object payload, String uri) throws Exception {
        return ServiceInstance.<Object>builder().name("api").id(id).address("10.0.0.1").port(8080).payload(payload)
            .serviceType(type).registrationTimeUTC(1700000000000L).uriSpec(uri == null ? null : new UriSpec(uri)).build();
    }

    /** Curator registers instances of all kinds; zkdisco reads them, and they go. */
    static void theirs(CuratorFramework client, String root) throws Exception {
        Map<String, Object> map = new LinkedHashMap<>();
        map.put("zone", "eu");
        map.put("n", 3);
        try (ServiceDiscovery<Object> one = discovery(client, root, Object.class)) {
            one.registerService(instance("plain", ServiceType.DYNAMIC, null, null));
            one.registerService(instance("map", ServiceType.DYNAMIC, map, "{scheme}://{address}:{port}/{name}"));
            one.registerService(instance("text", ServiceType.DYNAMIC, "hello \u00e4\u2603 \"<&>\"", null));
            one.registerService(instance("list", ServiceType.DYNAMIC, new ArrayList<>(Arrays.asList("x", "y")), null));
            one.registerService(instance("number", ServiceType.DYNAMIC, 5, null));
            one.registerService(instance("long", ServiceType.DYNAMIC, 5_000_000_000L, null));
            one.registerService(instance("static", ServiceType.STATIC, null, null));
            one.registerService(instance("permanent", ServiceType.PERMANENT, null, null));
            one.registerService(ServiceInstance.<Object>builder().name("api").id("ssl").address("::1").sslPort(8443)
                .registrationTimeUTC(1700000000000L).uriSpec(new UriSpec("{scheme}://x:{ssl-port}/{id}")).build());
            note("as Curator builds the URL", one.queryForInstance("api", "map").buildUriSpec(),
                one.queryForInstance("api", "ssl").buildUriSpec());
            note("zkdisco reads", act("read", "api"));
            note("zkdisco writes the same bytes", act("written again", "api"));
            note("detected", act("detected", "api"));
        }
        note("closed", act("empty", "api"));
    }

    /** zkdisco registers; Curator finds its instances by name and by id. */
    static void ours(CuratorFramework client, String root) throws Exception {
        try (ServiceDiscovery<Object> one = discovery(client, root, Object.class)) {
            note("registered", act("register", "api", "curator", "first", 80));
            note("by name", query(one, "api"));
            note("by id", shown(one.queryForInstance("api", "first")), shown(one.queryForInstance("api", "none")));
            note("services", new TreeSet<>(one.queryForNames()));
            note("updated", act("update", "first", 81));
            note("by name", query(one, "api"));
            note("deregistered", act("deregister", "first"));
            note("by name", query(one, "api"));
        }
    }

    /** A payload with a class, made into an object of it. */
    static void typed(CuratorFramework client, String root) throws Exception {
        try (ServiceDiscovery<Details> one = discovery(client, root, Details.class)) {
            note("registered", act("register", "api", "typed", "first", 80));
            note("by name", query(one, "api"));
            note("by id", shown(one.queryForInstance("api", "first")));
            note("one without a class", act("register", "api", "curator", "second", 80));
            note("by name", query(one, "api"));
        }
    }

    /** Payloads of the classes that Spring Cloud and Dubbo have, by name and fields; both ways. */
    static void beans(CuratorFramework client, String root) throws Exception {
        beans(client, root, "spring", org.springframework.cloud.zookeeper.discovery.ZookeeperInstance.class);
        beans(client, root, "dubbo-app", org.apache.dubbo.registry.zookeeper.ZookeeperInstance.class);
    }

    static <T> void beans(CuratorFramework client, String root, String format, Class<T> kind) throws Exception {
        try (ServiceDiscovery<T> one = discovery(client, root, kind)) {
            note("registered", act("register", format, format, "ours-" + format, 80));
            for (ServiceInstance<T> found : one.queryForInstances(format)) {
                note("by name", found.getId(), found.getAddress(), found.getPort(), found.getPayload().toString(),
                    found.getUriSpec() == null ? null : found.buildUriSpec());
            }
            T payload = JSON.readValue("{\"id\":\"application-1\",\"name\":\"" + format + "\",\"metadata\":{\"k\":\"v\"}}", kind);
            one.registerService(ServiceInstance.<T>builder().name(format).id("10.0.0.1:8080").address("10.0.0.1").port(8080)
                .payload(payload).registrationTimeUTC(1700000000000L).build());
            note("zkdisco reads", act("detected", format), act("written again", format));
        }
    }

    /** A cache follows instances of zkdisco that come and go. */
    static void cache(CuratorFramework client, String root) throws Exception {
        try (ServiceDiscovery<Object> one = discovery(client, root, Object.class)) {
            try (ServiceCache<Object> cache = one.serviceCacheBuilder().name("api").build()) {
                cache.start();
                note("at first", cache.getInstances().size());
                act("register", "api", "curator", "first", 80);
                note("one has come", ids(cache, 1));
                act("register", "api", "curator", "second", 81);
                note("another has come", ids(cache, 2));
                act("deregister", "first");
                note("one has gone", ids(cache, 1));
                act("deregister", "second");
                note("none is left", ids(cache, 0));
            }
        }
    }

    /** The ids that a cache has, once there are so many. */
    static Object ids(ServiceCache<?> cache, int count) throws Exception {
        CountDownLatch there = new CountDownLatch(1);
        ServiceCacheListener listener = new ServiceCacheListener() {
            @Override
            public void cacheChanged() {
                if (cache.getInstances().size() == count) {
                    there.countDown();
                }
            }

            @Override
            public void stateChanged(CuratorFramework client, ConnectionState state) {
            }
        };
        cache.addListener(listener);
        listener.cacheChanged();
        if (!there.await(PATIENCE, TimeUnit.MILLISECONDS)) {
            throw new IllegalStateException("not " + count + ", but " + cache.getInstances().size());
        }
        cache.removeListener(listener);
        TreeSet<String> ids = new TreeSet<>();
        for (ServiceInstance<?> one : cache.getInstances()) {
            ids.add(one.getId());
        }
        return ids;
    }

    /** What other formats in the same directory do to Curator's query, and to its cache. */
    static void mixed(CuratorFramework client, String root) throws Exception {
        try (ServiceDiscovery<Object> one = discovery(client, root, Object.class)) {
            for (String format : new String[] {"spring", "dubbo-app", "text", "gokit", "nerve", "serverset", "dubbo"}) {
                act("register", format, "curator", "first-" + format, 80);
                String warned = String.valueOf(act("warned", format, format));
                note("warned of " + format, warned);
                act("register", format, format, "other-" + format, 81);
                Object found = query(one, format);
                note("and so it is", found);
                if (warned.contains("fails as a whole") != found.equals("fails as a whole") || warned.equals("[]")) {
                    throw new IllegalStateException("Curator does something else than we warn of");
                }
                try (ServiceCache<Object> cache = one.serviceCacheBuilder().name(format).build()) {
                    cache.start();
                    note("a cache has", cache.getInstances().size());
                }
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.newClient(arguments[0], 15000, 10000, new RetryOneTime(100));
        client.start();
        try (CuratorFramework open = client) {
            Discovery.class.getDeclaredMethod(arguments[2], CuratorFramework.class, String.class).invoke(null, open, arguments[1]);
        }
    }
}
