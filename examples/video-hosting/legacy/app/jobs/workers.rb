# frozen_string_literal: true

# Threads that work the queue off.
class Workers
  def initialize(count)
    @count = count
  end

  def drain
    Array.new(@count) { |number| Thread.new { ActiveRecord::Base.connection_pool.with_connection { work("worker-#{number}") } } }.each(&:join)
  end

  private

  def work(name)
    while (job = Job.take(name))
      job.run unless job == :again
    end
  end
end
