package org.apache.dubbo.registry.zookeeper;

import java.util.Map;
import java.util.TreeMap;

/** A payload with the name and the fields that this framework's own has; the framework itself is not here. */
public class ZookeeperInstance {
    public String id;
    public String name;
    public Map<String, String> metadata = new TreeMap<>();

    @Override
    public String toString() {
        return id + " " + name + " " + metadata;
    }
}
